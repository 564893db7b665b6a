//! What a payload may say, and the checks of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::handlers::browser::action::BrowserAction;
use crate::handlers::browser::checks::{
    MAX_PICTURE_SIDE, check_file_name, check_proxy, check_url, refused,
};
use crate::handlers::secrets::SecretText;

/// The page is opened by a URL with this text in it, and Chromium opens no longer one.
const MAX_HTML_BYTES: usize = 1024 * 1024;

/// The payload of kind `browser`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrowserJob {
    /// Which browser; by default the first of them that is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub browser: Option<BrowserType>,
    /// The size of the page.
    #[serde(default)]
    pub viewport: BrowserViewport,
    /// In place of the browser's own.
    #[serde(default, alias = "userAgent", skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The language, as `de-DE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// The time zone, as `Europe/Berlin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Headers that all requests of the page have, also those to other hosts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Cookies that are there from the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cookies: Vec<BrowserCookie>,
    /// The proxy, as `http://proxy.example:3128`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// The page that is opened first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The text of that page, in place of its URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// When a page that is opened counts as loaded.
    #[serde(default, alias = "waitUntil")]
    pub wait_until: BrowserLoadPoint,
    /// What is not loaded: types of resources, and patterns of URLs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub block: Vec<String>,
    /// The HTTP statuses that are a success; by default those below 400.
    #[serde(default, alias = "expectStatus", skip_serializing_if = "Vec::is_empty")]
    pub expect_status: Vec<u16>,
    /// What is done, in this order.
    #[serde(default)]
    pub actions: Vec<BrowserAction>,
    /// How long a navigation or an action may take, in milliseconds.
    #[serde(default = "action_timeout_ms", alias = "actionTimeoutMs")]
    pub action_timeout_ms: u64,
    /// The folder for artifacts; a relative path is below the folder of the database.
    #[serde(default = "artifacts")]
    pub artifacts: PathBuf,
}

fn action_timeout_ms() -> u64 {
    30_000
}

fn artifacts() -> PathBuf {
    PathBuf::from("artifacts")
}

/// The browsers that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BrowserType {
    /// Chromium without anything that could be shown: it starts faster and needs less memory.
    HeadlessShell,
    /// Chromium or Chrome.
    Chromium,
}

/// The size of a page.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrowserViewport {
    /// In CSS pixels.
    pub width: u32,
    /// In CSS pixels.
    pub height: u32,
    /// How many pixels of a screenshot a CSS pixel has on each side.
    pub scale: f64,
}

impl Default for BrowserViewport {
    fn default() -> BrowserViewport {
        BrowserViewport {
            width: 1280,
            height: 720,
            scale: 1.0,
        }
    }
}

/// A cookie.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrowserCookie {
    /// Its name.
    pub name: String,
    /// Its value, or a secret of the runner that is for its domain.
    pub value: SecretText,
    /// By default the host of `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The path.
    #[serde(default = "root_path")]
    pub path: String,
    /// Only over https.
    #[serde(default)]
    pub secure: bool,
    /// Not for scripts.
    #[serde(default, alias = "httpOnly")]
    pub http_only: bool,
}

fn root_path() -> String {
    "/".to_owned()
}

/// When a page counts as loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum BrowserLoadPoint {
    /// With its pictures and the like.
    #[default]
    Load,
    /// When its text is there.
    DomContentLoaded,
    /// When it has loaded nothing for half a second.
    NetworkIdle,
}

impl BrowserLoadPoint {
    /// As events name it.
    pub(super) fn event(self) -> &'static str {
        match self {
            BrowserLoadPoint::Load => "load",
            BrowserLoadPoint::DomContentLoaded => "DOMContentLoaded",
            BrowserLoadPoint::NetworkIdle => "networkIdle",
        }
    }
}

impl BrowserJob {
    pub(super) fn check_fields(&self) -> Result<()> {
        match (&self.url, &self.html) {
            (Some(_), Some(_)) => return refused("'url' and 'html' do not go together"),
            (None, None) if !matches!(self.actions.first(), Some(BrowserAction::Goto { .. })) => {
                return refused("'url' is missing, or 'html', or a first action 'goto'");
            }
            (Some(url), None) => check_url(url)?,
            (None, Some(html)) if html.len() > MAX_HTML_BYTES => {
                return refused(format!("'html' is longer than {MAX_HTML_BYTES} bytes"));
            }
            _ => {}
        }
        let BrowserViewport {
            width,
            height,
            scale,
        } = self.viewport;
        let is_size = |pixels| (1..=10_000).contains(&pixels);
        if !is_size(width) || !is_size(height) || !(0.1..=5.0).contains(&scale) {
            return refused("'viewport' has sizes from 1 to 10000 and a scale from 0.1 to 5");
        }
        if f64::from(width.max(height)) * scale > MAX_PICTURE_SIDE {
            return refused(format!(
                "'viewport' times its scale is at most {MAX_PICTURE_SIDE} pixels on each side"
            ));
        }
        if !(100..=3_600_000).contains(&self.action_timeout_ms) {
            return refused("'action_timeout_ms' is from 100 to 3600000");
        }
        for (name, value) in &self.headers {
            if name.is_empty()
                || !name
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b':')
            {
                return refused(format!("{name:?} cannot be the name of a header"));
            }
            if value.contains(['\r', '\n', '\0']) {
                return refused(format!("the header '{name}' has a line break or a NUL"));
            }
        }
        if let Some(proxy) = &self.proxy {
            check_proxy(proxy)?;
        }
        for cookie in &self.cookies {
            if cookie.domain.is_none() && self.url.is_none() {
                return refused(format!("the cookie '{}' needs a domain", cookie.name));
            }
        }
        if self
            .artifacts
            .components()
            .any(|part| part == Component::ParentDir)
        {
            return refused("'artifacts' is a path without '..'");
        }
        self.check_actions()
    }

    fn check_actions(&self) -> Result<()> {
        let (mut files, mut values) = (BTreeSet::new(), BTreeSet::new());
        for (at, action) in (1..).zip(&self.actions) {
            let what = || format!("action {at} ({})", action.name());
            action.check().map_err(|error| error.context(what()))?;
            if let Some(name) = action.artifact(at) {
                check_file_name(&name).map_err(|error| error.context(what()))?;
                if !files.insert(name.clone()) {
                    return refused(format!("{}: the name '{name}' is taken", what()));
                }
            }
            if let Some(name) = action.value_name()
                && !values.insert(name)
            {
                return refused(format!("{}: the name '{name}' is taken", what()));
            }
        }
        Ok(())
    }
}
