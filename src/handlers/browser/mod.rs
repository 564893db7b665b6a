//! The kind `browser`: opens pages and does things on them, in a browser that a runner's jobs share.

mod action;
mod artifacts;
mod checks;
mod class;
mod connection;
mod elements;
mod keys;
mod listener;
mod page;
mod payload;
mod pool;
mod process;
mod profile;
mod script;
#[cfg(test)]
mod tests;
mod wire_json;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock;
pub use crate::handlers::browser::action::{
    BrowserAction, BrowserElementState, BrowserImageFormat, BrowserPaper, BrowserScrollTo,
};
use crate::handlers::browser::artifacts::ArtifactFolder;
use crate::handlers::browser::class::BrowserError;
use crate::handlers::browser::page::BrowserPage;
pub use crate::handlers::browser::payload::{
    BrowserCookie, BrowserJob, BrowserLoadPoint, BrowserType, BrowserViewport,
};
use crate::handlers::browser::pool::BrowserPool;
use crate::handlers::browser::process::{BrowserKey, find_program};
use crate::handlers::browser::script::BrowserScript;
use crate::handlers::built_in::BuiltInJob;
use crate::handlers::paths::{begin_at, check_roots};
use crate::model::event::Level;
use crate::model::job::{Job, JobOptions, NewJob};
use crate::model::retry::{Backoff, Jitter};
use crate::runner::context::Context;
use crate::runner::handler::Failure;
use crate::{Error, Result};

const HEADLESS_SHELL: [&str; 3] = [
    "chromium-headless-shell",
    "chrome-headless-shell",
    "headless_shell",
];
const CHROMIUM: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

/// How much of the title of a page is kept.
const TITLE_CHARS: usize = 1000;

/// What `[kinds.browser.settings]` may say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct BrowserSettings {
    /// Start the browser without its sandbox, which root has to.
    pub no_sandbox: bool,
    /// The program of the browser `headless-shell`, unless it is in the `PATH`.
    pub headless_shell: Option<PathBuf>,
    /// The program of the browser `chromium`, unless it is in the `PATH`.
    pub chromium: Option<PathBuf>,
    /// Whether payloads may have scripts, those in their HTML included.
    pub scripts: bool,
    /// The folders that payloads may name for artifacts and uploads, and those below them; any, if this is left out.
    pub roots: Option<Vec<PathBuf>>,
    #[serde(skip)]
    pool: Arc<BrowserPool>,
}

impl Default for BrowserSettings {
    fn default() -> BrowserSettings {
        BrowserSettings {
            no_sandbox: false,
            headless_shell: None,
            chromium: None,
            scripts: true,
            roots: None,
            pool: Arc::default(),
        }
    }
}

/// The result of a job of kind `browser`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BrowserResult {
    /// Where the page is at the end.
    pub url: String,
    /// Its title, up to 1000 characters of it.
    pub title: String,
    /// The HTTP status of the page, the last that a server has answered with.
    pub status: Option<u16>,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// What the actions have taken, by their names.
    pub values: Map<String, Value>,
    /// The files that were written.
    pub artifacts: Vec<BrowserArtifact>,
}

/// A file that a job of kind `browser` has written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BrowserArtifact {
    /// Its name, as the action gives it.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its digest, in hexadecimal digits.
    pub sha256: String,
}

impl Job for BrowserJob {
    const KIND: &'static str = "browser";
    type Output = BrowserResult;

    fn options(&self, job: NewJob) -> NewJob {
        job.with_options(BrowserJob::defaults())
    }
}

impl BuiltInJob for BrowserJob {
    type Settings = BrowserSettings;
    const HELP: &'static str = include_str!("help.txt");

    fn defaults() -> JobOptions {
        JobOptions {
            timeout: Some(Duration::from_secs(300)),
            max_retries: Some(3),
            backoff: Some(Backoff::Quadratic),
            jitter: Some(Jitter::Off),
            ..JobOptions::default()
        }
    }

    fn relative_to(mut settings: BrowserSettings, folder: &Path) -> BrowserSettings {
        begin_at(folder, settings.roots.iter_mut().flatten());
        let programs = [&mut settings.headless_shell, &mut settings.chromium];
        // Others are names.
        let is_path = |program: &&mut PathBuf| program.components().count() > 1;
        begin_at(folder, programs.into_iter().flatten().filter(is_path));
        settings
    }

    fn check(&self) -> Result<()> {
        self.check_fields()
    }

    fn run(
        self,
        settings: &BrowserSettings,
        ctx: &Context,
    ) -> std::result::Result<BrowserResult, Failure> {
        self.check_settings(settings, ctx)
            .map_err(Failure::permanent)?;
        let began = clock::instant();
        let key = self.key(settings)?;
        let share = settings.pool.share(&key, ctx)?;
        let mut script = BrowserScript {
            job: &self,
            has_scripts_off: !settings.scripts,
            page: BrowserPage::open(share, self.proxy.as_deref(), ctx)?,
            artifacts: ArtifactFolder::new(&self.artifacts, ctx)?,
            values: Map::new(),
        };
        let ended = script.run().and_then(|()| {
            let part = |value: Value| value.as_str().unwrap_or_default().to_owned();
            let url = script.page.evaluate("location.href").map(part)?;
            let title = script.page.evaluate("document.title").map(part)?;
            Ok((url, title.chars().take(TITLE_CHARS).collect()))
        });
        let (url, title) = match ended {
            Ok(ended) => ended,
            Err(error) => return Err(failure_of(error, &mut script)),
        };
        script.artifacts.link_latest()?;
        Ok(BrowserResult {
            // The text itself is in the payload.
            url: match url.split_once(";base64,") {
                Some((media, _)) if url.starts_with("data:") => media.to_owned(),
                _ => url,
            },
            title,
            status: script.page.status(),
            ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            values: script.values,
            artifacts: script.artifacts.written,
        })
    }
}

/// The failure, after what helps to understand it was kept.
fn failure_of(error: BrowserError, script: &mut BrowserScript<'_, '_>) -> Failure {
    let ctx = script.page.ctx;
    if matches!(error, BrowserError::Other(_)) {
        return error.into();
    }
    let console = script.page.console();
    if !console.is_empty() {
        let lines = console.join("\n");
        ctx.log(Level::Warn, format!("the page's console:\n{lines}"));
    }
    if error.is_of_browser() {
        script.page.retire_browser("a page of it failed");
    } else if let Some(path) = script.keep_failure() {
        ctx.log(Level::Warn, format!("the page at the failure: {path}"));
    }
    error.into()
}

impl BrowserJob {
    fn check_settings(&self, settings: &BrowserSettings, ctx: &Context) -> Result<()> {
        if !settings.scripts && self.actions.iter().any(BrowserAction::has_script) {
            let why = "scripts are refused: [kinds.browser.settings] has scripts = false";
            return Err(Error::invalid(why));
        }
        let database = ctx.queue().path();
        let beside = database.parent().unwrap_or(Path::new("/"));
        let uploads = self.actions.iter().filter_map(|action| match action {
            BrowserAction::Upload { path, .. } => Some(path),
            _ => None,
        });
        let roots = settings.roots.as_deref();
        let mut paths = uploads.chain([&self.artifacts]);
        paths.try_for_each(|path| check_roots(BrowserJob::KIND, roots, &beside.join(path)))
    }

    /// What browser it needs.
    fn key(&self, settings: &BrowserSettings) -> std::result::Result<BrowserKey, BrowserError> {
        let headless_shell = || {
            let set = settings.headless_shell.clone();
            set.or_else(|| find_program(&HEADLESS_SHELL))
        };
        let chromium = || {
            let set = settings.chromium.clone();
            set.or_else(|| find_program(&CHROMIUM))
        };
        let program = match self.browser {
            Some(BrowserType::HeadlessShell) => headless_shell(),
            Some(BrowserType::Chromium) => chromium(),
            None => headless_shell().or_else(chromium),
        };
        let program = program.ok_or_else(|| {
            BrowserError::browser(
                "no browser was found: install chromium-headless-shell or chromium, or name its program in \
                 [kinds.browser.settings]",
            )
        })?;
        if !settings.no_sandbox && rustix::process::geteuid().is_root() {
            return Err(BrowserError::browser(
                "the browser does not run as root with its sandbox: run jobq as another user, or set \
                 no_sandbox = true in [kinds.browser.settings]",
            ));
        }
        Ok(BrowserKey {
            program,
            no_sandbox: settings.no_sandbox,
        })
    }
}
