//! `jobq events`: the history as a stream.

use std::io::Write;
use std::time::Duration;

use jobq::{Event, EventFilter, EventId, Queue};

use super::args;
use super::clock::now;
use super::exit::{CliError, CliResult, Exit};
use super::lines::LastOf;
use super::output::json::{EventJson, write_line};
use super::output::style::Look;
use super::output::text::{for_tabs, for_terminal};
use super::output::time::{millis, relative, rfc3339, time_of_day};
use super::output::{Format, Output, Stdout};
use super::reader_gone;
use super::session::Session;
use super::wording::sentence;

/// How long one wait for a change lasts; another follows.
const WAIT: Duration = Duration::from_secs(3600);

pub(super) fn run(args: &args::Events, session: &Session) -> CliResult {
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
        reader_gone::watch(Exit::Done);
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
        read(&queue, &mut filter, &mut |event| {
            last.push(event);
            Ok(())
        })?;
        last.into_iter().try_for_each(|event| shown.write(&event))?;
    }
    loop {
        read(&queue, &mut filter, &mut |event| shown.write(&event))?;
        shown.out.flush()?;
        if !args.follow {
            return Ok(Exit::Done);
        }
        changes.wait(WAIT)?;
    }
}

/// Gives what has been added since the last time.
fn read(
    queue: &Queue,
    filter: &mut EventFilter,
    each: &mut dyn FnMut(Event) -> CliResult<()>,
) -> CliResult<()> {
    loop {
        let page = queue.events(filter)?;
        filter.since = page.next;
        page.events.into_iter().try_for_each(&mut *each)?;
        if page.at_end {
            return Ok(());
        }
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
            Format::Json => write_line(&mut self.out, &EventJson::new(event))?,
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

fn fields(event: &Event) -> String {
    let maybe = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let data = event
        .data
        .as_ref()
        .map(|data| String::from_utf8_lossy(data.as_bytes()));
    [
        event.id.0.to_string(),
        rfc3339(event.at),
        event.kind.to_string(),
        event.job.map(|job| job.to_string()).unwrap_or_default(),
        maybe(event.attempt.map(u64::from)),
        event
            .runner
            .map(|runner| runner.to_string())
            .unwrap_or_default(),
        maybe(event.worker.map(|worker| u64::from(worker.0))),
        maybe(event.took.map(millis)),
        data.map(|data| for_tabs(&data).into_owned())
            .unwrap_or_default(),
    ]
    .join("\t")
}

fn look(event: &Event) -> Look {
    use jobq::EventKind::*;
    match event.kind {
        Completed => Look::Good,
        Failed | RunnerLost => Look::Bad,
        Retry | Recovered | ReportDropped | QueuePaused => Look::Warn,
        Progress | Log | Stdout | Stderr => Look::Dim,
        _ => Look::Plain,
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
