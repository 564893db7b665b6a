//! `jobq events`: the history as a stream.

use std::io::Write;
use std::num::NonZeroUsize;

use clap::Args;
use jobq::api::event::{EventJson, sentence};
use jobq::api::json::write_line;
use jobq::api::time::{relative, time_of_day};
use jobq::{Event, EventFilter, EventId, EventKind};

use crate::cli::clock::now;
use crate::cli::exit::{CliError, CliResult, Exit};
use crate::cli::history::{LastOf, WAIT, read_events};
use crate::cli::input::values;
use crate::cli::render::event::{fields, look};
use crate::cli::render::style::Look;
use crate::cli::render::text::for_terminal;
use crate::cli::render::{Format, Output, Stdout};
use crate::cli::session::Session;
use crate::cli::signals::end_when_reader_is_gone;

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Go on as more comes
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only events after the one with this id
    #[arg(long, value_name = "EVENT", value_parser = values::event_id)]
    pub(crate) since: Option<i64>,
    /// Only events of this kind; may be given more than once
    #[arg(long = "kind", value_name = "KIND", value_parser = values::event_kind(), value_delimiter = ',', hide_possible_values = true)]
    pub(crate) kinds: Vec<EventKind>,
    /// Only events of this job
    #[arg(long, value_name = "ID")]
    pub(crate) job: Option<String>,
    /// Only events of this tenant's jobs
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Only events of jobs with this tag; of several, with all
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = values::tag)]
    pub(crate) tags: Vec<(String, String)>,
    /// Only the last N events
    #[arg(short = 'n', long = "lines", value_name = "N")]
    pub(crate) lines: Option<NonZeroUsize>,
}

pub(crate) fn run(args: &EventsArgs, session: &Session) -> CliResult {
    let queue = session.queue()?;
    let mut filter = EventFilter {
        since: EventId(args.since.unwrap_or_default()),
        job: args
            .job
            .as_deref()
            .map(|id| session.resolve_id(id))
            .transpose()?,
        kinds: args.kinds.clone(),
        tenant: args.tenant.clone(),
        tags: args.tags.clone(),
        ..EventFilter::default()
    };
    if let Some(job) = filter.job
        && queue.state(job)?.is_none()
    {
        // If it was removed, its events are, too.
        return Err(CliError::no_job(job));
    }
    if args.follow {
        end_when_reader_is_gone(Exit::Done);
    }
    let mut changes = queue.changes()?;
    let mut shown = Shown {
        output: &session.output,
        out: session.output.stdout(),
        follow: args.follow,
    };
    if args.follow && args.since.is_none() && args.lines.is_none() {
        filter.since = queue.last_event()?;
    } else if let Some(most) = args.lines {
        let mut last = LastOf::new(most.get());
        read_events(&queue, &mut filter, |event| {
            last.push(event);
            CliResult::Ok(())
        })?;
        last.into_iter().try_for_each(|event| shown.write(&event))?;
    }
    loop {
        read_events(&queue, &mut filter, |event| shown.write(&event))?;
        shown.out.flush()?;
        if !args.follow {
            return Ok(Exit::Done);
        }
        changes.wait(WAIT)?;
    }
}

/// Events on their way to stdout.
struct Shown<'a> {
    output: &'a Output,
    out: Stdout,
    follow: bool,
}

impl Shown<'_> {
    fn write(&mut self, event: &Event) -> CliResult<()> {
        match self.output.format {
            Format::Json => write_line(&mut self.out, &EventJson(event))?,
            Format::Tabs => writeln!(self.out, "{}", fields(event))?,
            Format::Table => writeln!(self.out, "{}", self.line(event))?,
        }
        Ok(())
    }

    /// The lines stream on, so that their columns are fixed; and those that one follows grow old on
    /// the screen, so that they bear the time of day.
    fn line(&self, event: &Event) -> String {
        let when = if self.follow {
            time_of_day(event.at)
        } else {
            relative(event.at, now())
        };
        let job = event
            .job
            .map(|job| format!("job {job}"))
            .unwrap_or_default();
        let head = format!("{:>6}  {when:>10}  {job:<9}  ", event.id.0);
        let said = sentence(event);
        let room = usize::from(self.output.width).saturating_sub(head.chars().count());
        let said = cut(&for_terminal(&said), room);
        format!(
            "{}{}",
            self.output.paint(Look::Dim, head),
            self.output.paint(look(event), said)
        )
    }
}

/// The beginning that fits.
fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let beginning: String = text.chars().take(room.saturating_sub(1)).collect();
    format!("{beginning}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_to_the_room_there_is() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("länger", 5), "läng…");
    }
}
