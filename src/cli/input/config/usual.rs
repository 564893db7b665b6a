//! The options of jobs that do not give them, from `[defaults]` and `[kinds.…]`.

use std::collections::BTreeMap;

use jobq::handlers::BUILT_IN;
use jobq::{JobOptions, UniqueKey};

use crate::cli::exit::{CliError, CliResult};
use crate::cli::input::config::tables::{DefaultsTable, KindTable};
use crate::cli::input::options;

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
    options: CliResult<JobOptions>,
    usual: &JobOptions,
) -> CliResult<JobOptions> {
    let options = options.map_err(|error| error.context(header))?;
    let options = options::fill_in(options, usual);
    options::check_table(&options).map_err(|(key, error)| match key {
        "" => error.context(header),
        key => error.context(format_args!("{header} {key}")),
    })?;
    Ok(options)
}
