//! What is known of reports before their jobs come: `[kinds.report.settings]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::handlers::paths::begin_at;
use crate::handlers::report::ReportJob;
use crate::handlers::report::names::check_name;
use crate::model::nearest::nearest;
use crate::{Error, Result};

/// What `[kinds.report.settings]` may say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ReportSettings {
    /// The reports that payloads may name.
    #[serde(default, deserialize_with = "reports")]
    pub reports: BTreeMap<String, ReportJob>,
    /// Whether payloads may name reports and nothing else that is read or written.
    #[serde(default)]
    pub only_named: bool,
    /// The SQLite file of reports that name none; the queue's own, if this is left out.
    pub database: Option<PathBuf>,
    /// The folder of reports without an `output`; `reports` beside the queue's file, if this is left out.
    pub to: Option<PathBuf>,
    /// The folder with the templates.
    pub templates: Option<PathBuf>,
    /// The folders that `database` and `output` of a report may be in, with those below them; any, if this is left out.
    pub roots: Option<Vec<PathBuf>>,
    /// Where relative paths begin.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// The reports of the settings, each checked with its name.
fn reports<'de, D: Deserializer<'de>>(
    value: D,
) -> std::result::Result<BTreeMap<String, ReportJob>, D::Error> {
    let reports: BTreeMap<String, ReportJob> = BTreeMap::deserialize(value)?;
    for (name, report) in &reports {
        let checked = check_name("name", name).and_then(|()| match report {
            ReportJob { name: Some(_), .. } => Err(Error::invalid("its table has its name")),
            report if report.queries.is_empty() => Err(Error::invalid("'queries' is missing")),
            report => report.check_whole(),
        });
        checked.map_err(|why| D::Error::custom(format_args!("reports.{name}: {why}")))?;
    }
    Ok(reports)
}

impl ReportSettings {
    pub(super) fn relative_to(mut self, folder: &Path) -> ReportSettings {
        let paths = [&mut self.database, &mut self.to, &mut self.templates];
        let roots = self.roots.iter_mut().flatten();
        begin_at(folder, paths.into_iter().flatten().chain(roots));
        self.folder = folder.to_owned();
        self
    }

    /// The report of a payload, with what the settings say of it.
    pub(super) fn whole(&self, job: ReportJob) -> Result<ReportJob> {
        let own = [
            ("queries", !job.queries.is_empty()),
            ("database", job.database.is_some()),
            ("output", job.output.is_some()),
            ("template", job.template.is_some()),
        ];
        let own = own.iter().find(|(_, is_given)| *is_given);
        if let Some((field, _)) = own.filter(|_| self.only_named) {
            return Err(Error::invalid(format!(
                "a payload may not have '{field}': [kinds.report.settings] says only_named"
            )));
        }
        match self.reports.get(job.name()) {
            Some(_) if !job.queries.is_empty() => Err(Error::invalid(format!(
                "the report '{0}' of [kinds.report.settings.reports.{0}] has queries of its own; give yours another \
                 'name'",
                job.name()
            ))),
            Some(named) => {
                let whole = job.or(named);
                whole.check_whole().map(|()| whole)
            }
            None if job.queries.is_empty() => Err(self.unknown(job.name())),
            None => Ok(job),
        }
    }

    fn unknown(&self, name: &str) -> Error {
        let names = || self.reports.keys().map(String::as_str);
        let known = match nearest(name, names()) {
            Some(nearest) => format!("; did you mean '{nearest}'?"),
            None if self.reports.is_empty() => String::new(),
            None => format!("; it has {}", names().collect::<Vec<_>>().join(", ")),
        };
        Error::invalid(format!(
            "[kinds.report.settings.reports] has no '{name}'{known}"
        ))
    }
}
