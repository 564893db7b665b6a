//! The options of jobs that do not give them, from `[defaults]` and `[kinds.…]`.

use std::collections::BTreeMap;

use jobq::api::options;
use jobq::handlers::BUILT_IN;
use jobq::{JobOptions, UniqueKey, When};

use crate::cli::exit::{CliError, CliResult};
use crate::cli::input::config::tables::{DefaultsTable, KindTable};

/// The options of jobs where they do not give them.
#[derive(Debug)]
pub(crate) struct UsualOptions {
    of_kinds: BTreeMap<String, JobOptions>,
    of_others: JobOptions,
}

impl UsualOptions {
    /// How jobs are retried by `[defaults]` is left to [`DefaultsTable::retry`]: a backoff of a job's own has a
    /// delay of its own.
    pub(crate) fn of(
        defaults: &DefaultsTable,
        kinds: &BTreeMap<String, KindTable>,
    ) -> CliResult<UsualOptions> {
        let all = checked("[defaults]", defaults.options(), &JobOptions::default())?;
        if matches!(all.unique, Some(UniqueKey::Named(_))) {
            return Err(CliError::usage(
                "[defaults] unique: there could be one unfinished job in all",
            )
            .with_hint("give it to a kind or a schedule, or say unique_by_payload = true"));
        }
        let of_others = JobOptions {
            max_retries: None,
            backoff: None,
            retry_delay: None,
            retry_delays: None,
            jitter: None,
            ..all
        };
        let mut of_kinds = of_built_in(&of_others);
        for (name, kind) in kinds {
            let usual = of_kinds.get(name).unwrap_or(&of_others);
            let options = checked(&format!("[kinds.{name}]"), kind.options(), usual)?;
            of_kinds.insert(name.clone(), options);
        }
        // A group has no work of its own that a key could limit.
        let of_groups = JobOptions {
            key: None,
            key_limit: None,
            ..of_others.clone()
        };
        of_kinds.insert(jobq::GROUP_KIND.to_owned(), of_groups);
        Ok(UsualOptions {
            of_kinds,
            of_others,
        })
    }

    pub(crate) fn of_kind(&self, kind: &str) -> &JobOptions {
        self.of_kinds.get(kind).unwrap_or(&self.of_others)
    }
}

/// Without a config file.
impl Default for UsualOptions {
    fn default() -> UsualOptions {
        let of_others = JobOptions::default();
        UsualOptions {
            of_kinds: of_built_in(&of_others),
            of_others,
        }
    }
}

/// The options of the built-in kinds, by kind.
fn of_built_in(of_others: &JobOptions) -> BTreeMap<String, JobOptions> {
    let kinds = BUILT_IN.iter();
    let each = kinds.map(|kind| (kind.name.to_owned(), kind.defaults().or(of_others)));
    each.collect()
}

/// The options of a table, with those that it does not give from `usual`.
fn checked(
    header: &str,
    options: jobq::Result<JobOptions>,
    usual: &JobOptions,
) -> CliResult<JobOptions> {
    let options = options.map_err(|error| CliError::from(error).context(header))?;
    let options = options::fill_in(options, usual);
    check_table(&options).map_err(|(key, error)| match key {
        "" => error.context(header),
        key => error.context(format_args!("{header} {key}")),
    })?;
    Ok(options)
}

/// Checks the options of a table, with those that it takes from others. The error comes with the key of the
/// table, where it is known.
pub(crate) fn check_table(options: &JobOptions) -> Result<(), (&'static str, CliError)> {
    let (no_unique, no_key) = (options.unique.is_none(), options.key.is_none());
    let unique = "'unique' or 'unique_by_payload'";
    let lacking = [
        ("unique_for", no_unique && options.unique_for.is_some()),
        ("on_duplicate", no_unique && options.on_duplicate.is_some()),
        ("key_limit", no_key && options.key_limit.is_some()),
    ];
    if let Some((key, _)) = lacking.into_iter().find(|(_, is_lacking)| *is_lacking) {
        let needs = if key == "key_limit" { "'key'" } else { unique };
        let error = CliError::usage(format!("it goes with {needs}, and there is none"));
        return Err((key, error.with_hint("say what it is for")));
    }
    if matches!(options.deadline, Some(When::Now | When::At(_))) {
        let error = CliError::usage("one moment would be over for all later jobs");
        return Err(("deadline", error.with_hint("give a duration, as \"2h\"")));
    }
    options.check().map_err(|error| ("", error.into()))
}

#[cfg(test)]
mod tests {
    use jobq::OnDuplicate;

    use super::*;

    #[test]
    fn the_answer_to_duplicates_needs_a_unique_key_in_tables() {
        let options = JobOptions {
            on_duplicate: Some(OnDuplicate::Reject),
            ..JobOptions::default()
        };
        assert_eq!(check_table(&options).unwrap_err().0, "on_duplicate");
        let with_key = JobOptions {
            unique: Some(UniqueKey::KindAndPayload),
            ..options
        };
        assert!(check_table(&with_key).is_ok());
    }
}
