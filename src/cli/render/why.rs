//! Why a job or a queue's jobs do not run, on a terminal.

use jobq::api::why::Explanation;
use jobq::api::why::queue::VerdictText;

use crate::cli::render::style::Look;
use crate::cli::render::text::for_terminal;

/// How a rule is coloured: one that calls for action stands out.
pub(crate) fn look(told: &Explanation) -> Look {
    match told.calls_for_action {
        true => Look::Warn,
        false if told.state.is_final() => Look::State(told.state),
        false => Look::Plain,
    }
}

/// A line for its jobs, and one for each rule with what would change it.
pub(crate) fn verdict_text(words: &VerdictText<'_>) -> String {
    let counts = words.verdict.counts.iter().filter(|(_, jobs)| *jobs > 0);
    let counts: Vec<String> = counts
        .map(|(state, jobs)| format!("{jobs} {state}"))
        .collect();
    let jobs = match counts.is_empty() {
        true => "no jobs".to_owned(),
        false => counts.join(", "),
    };
    let mut lines = vec![format!("queue '{}': {jobs}", words.verdict.queue)];
    for (rule, told) in &words.rules {
        let more = if rule.is_at_least { " or more" } else { "" };
        lines.push(format!("{}{more} pending: {}", rule.jobs, told.reason));
        lines.extend(told.hint.iter().map(|hint| format!("  hint: {hint}")));
    }
    let lines = lines.iter().map(|line| for_terminal(line).into_owned());
    lines.collect::<Vec<_>>().join("\n")
}
