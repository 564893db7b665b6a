//! Labels of the lines of a batch.

use std::collections::HashMap;

use jobq::JobOptions;

use crate::cli::exit::{CliError, CliResult};

/// The labels of a batch's lines as they are checked: where each stands.
#[derive(Default)]
pub(super) struct LineLabels(HashMap<String, u64>);

impl LineLabels {
    /// Checks what the next line says of labels. The error does not name the line.
    pub(super) fn check(&mut self, options: &JobOptions, number: u64) -> CliResult<()> {
        if let Some(label) = options
            .referenced_labels()
            .find(|label| !self.0.contains_key(*label))
        {
            return Err(
                CliError::usage(format!("no line before has the label '{label}'"))
                    .with_hint("a job is named by its number, or by the label of an earlier line"),
            );
        }
        let Some(label) = &options.label else {
            return Ok(());
        };
        match self.0.insert(label.clone(), number) {
            None => Ok(()),
            Some(first) => Err(CliError::usage(format!(
                "the label '{label}' is that of line {first} already"
            ))),
        }
    }
}
