//! A job's actions on its page, one after the other.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::handlers::browser::action::{
    BrowserAction, BrowserImageFormat, BrowserPaper, BrowserScrollTo,
};
use crate::handlers::browser::artifacts::ArtifactFolder;
use crate::handlers::browser::checks::{FAILURE_PICTURE, MAX_PICTURE_SIDE, host_of, inches};
use crate::handlers::browser::class::{BrowserError, FailureClass};
use crate::handlers::browser::elements::Tried;
use crate::handlers::browser::keys::KeyPress;
use crate::handlers::browser::page::BrowserPage;
use crate::handlers::browser::payload::BrowserJob;
use crate::handlers::secrets::SecretText;
use crate::model::base64;
use crate::model::job::Progress;

/// The most that a value of the result may need, as JSON.
const MAX_VALUE_BYTES: usize = 1024 * 1024;

/// The most that the HTML of a page may need.
const MAX_HTML_BYTES: usize = 64 * 1024 * 1024;

/// The picture of a failure must not hold up the failure.
const FAILURE_PICTURE_WITHIN: Duration = Duration::from_secs(2);

/// What the types of `block` are to the browser.
const RESOURCE_TYPES: [(&str, &str); 9] = [
    ("image", "Image"),
    ("font", "Font"),
    ("media", "Media"),
    ("stylesheet", "Stylesheet"),
    ("script", "Script"),
    ("xhr", "XHR"),
    ("fetch", "Fetch"),
    ("websocket", "WebSocket"),
    ("other", "Other"),
];

#[derive(Deserialize)]
struct PictureData {
    data: String,
}

pub(super) struct BrowserScript<'a, 'c> {
    pub(super) job: &'a BrowserJob,
    /// The payload may have no scripts, and so its `html` runs none.
    pub(super) has_scripts_off: bool,
    pub(super) page: BrowserPage<'c>,
    pub(super) artifacts: ArtifactFolder,
    pub(super) values: Map<String, Value>,
}

impl BrowserScript<'_, '_> {
    pub(super) fn run(&mut self) -> Result<(), BrowserError> {
        let ctx = self.page.ctx;
        self.prepare().map_err(BrowserError::for_good)?;
        let job = self.job;
        if let Some(url) = &job.url {
            self.open(url)?;
        } else if let Some(html) = &job.html {
            let html = base64::encode(html.as_bytes());
            self.begin(None);
            if self.has_scripts_off {
                self.page.set_scripts(false)?;
            }
            let url = format!("data:text/html;charset=utf-8;base64,{html}");
            let opened = self.page.navigate(&url, job.wait_until.event());
            opened.map_err(|error| error.context("html"))?;
        }
        let total = job.actions.len() as u64;
        for (at, action) in (1..).zip(&job.actions) {
            self.begin(None);
            let what = || format!("action {at} ({})", action.name());
            self.act(at, action)
                .map_err(|error| error.context(what()))?;
            ctx.progress(Progress::of(at as u64, total).message(action.name()));
        }
        // What follows has a time of its own: a wait uses up all that it has.
        self.begin(None);
        Ok(())
    }

    fn begin(&mut self, timeout_ms: Option<u64>) {
        let ms = timeout_ms.unwrap_or(self.job.action_timeout_ms);
        self.page.begin(Duration::from_millis(ms));
    }

    /// Makes the page what the payload wants it to be, before anything is loaded.
    fn prepare(&mut self) -> Result<(), BrowserError> {
        let (job, page) = (self.job, &mut self.page);
        let viewport = json!({
            "width": job.viewport.width, "height": job.viewport.height,
            "deviceScaleFactor": job.viewport.scale, "mobile": false,
        });
        let mut commands = vec![("Emulation.setDeviceMetricsOverride", viewport)];
        if let Some(timezone) = &job.timezone {
            let timezone = json!({ "timezoneId": timezone });
            commands.push(("Emulation.setTimezoneOverride", timezone));
        }
        if let Some(locale) = &job.locale {
            commands.push(("Emulation.setLocaleOverride", json!({ "locale": locale })));
        }
        if job.user_agent.is_some() || job.locale.is_some() {
            let own = || page.evaluate("navigator.userAgent");
            let user_agent = job
                .user_agent
                .clone()
                .map_or_else(own, |it| Ok(it.into()))?;
            let mut agent = json!({ "userAgent": user_agent });
            if let Some(locale) = &job.locale {
                agent["acceptLanguage"] = Value::from(&**locale);
            }
            commands.push(("Emulation.setUserAgentOverride", agent));
        }
        if !job.headers.is_empty() {
            let headers = json!({ "headers": job.headers });
            commands.push(("Network.setExtraHTTPHeaders", headers));
        }
        if !job.cookies.is_empty() {
            commands.push(("Network.setCookies", cookies(job, page)?));
        }
        if !job.block.is_empty() {
            commands.push(("Fetch.enable", json!({ "patterns": blocked(&job.block) })));
        }
        for (method, params) in commands {
            let _done: Value = page.ask(method, params)?;
        }
        Ok(())
    }

    fn open(&mut self, url: &str) -> Result<(), BrowserError> {
        self.begin(None);
        if self.has_scripts_off {
            self.page.set_scripts(true)?;
        }
        let opened = self.page.navigate(url, self.job.wait_until.event());
        let opened = match opened {
            // Whatever the status was.
            Err(error) if error.is_of_browser() || matches!(error, BrowserError::Other(_)) => {
                return Err(error.context(url));
            }
            opened => opened,
        };
        let expected = &self.job.expect_status;
        let status = self.page.status();
        let is_expected = status.is_some_and(|status| expected.contains(&status));
        if let Some(status) = status
            && !is_expected
        {
            let class = FailureClass::of_status(status);
            let class = class.or((!expected.is_empty()).then_some(FailureClass::Page));
            if let Some(class) = class {
                return Err(BrowserError::Failed(
                    class,
                    format!("HTTP status {status} of {url}"),
                ));
            }
        }
        match opened {
            // A page of this status may well be empty.
            Err(BrowserError::Failed(_, why)) if is_expected && why.starts_with("net::") => Ok(()),
            opened => opened.map_err(|error| error.context(url)),
        }
    }

    fn act(&mut self, at: usize, action: &BrowserAction) -> Result<(), BrowserError> {
        let page = &mut self.page;
        match action {
            BrowserAction::Goto { url } => self.open(url),
            BrowserAction::Click { selector } => page.click(selector),
            BrowserAction::Fill { selector, value } => self.fill(selector, value),
            BrowserAction::Press { key, selector } => {
                if let Some(selector) = selector {
                    page.element("focus", selector, &[])?;
                }
                let key = KeyPress::parse(key).map_err(BrowserError::page)?;
                page.press(&key)
            }
            BrowserAction::Select { selector, value } => {
                page.element("select", selector, &[json!(value)]).map(drop)
            }
            BrowserAction::Check { selector, checked } => page.set_checked(selector, *checked),
            BrowserAction::Hover { selector } => page.hover(selector),
            BrowserAction::Scroll { to, selector } => {
                let to = if *to == Some(BrowserScrollTo::Top) {
                    "top"
                } else {
                    "bottom"
                };
                page.function("scroll", &[json!(selector), json!(to)])
                    .map(drop)
            }
            BrowserAction::Upload { selector, path } => self.upload(selector, path),
            BrowserAction::Wait { .. } => self.wait(action),
            _ => self.take(at, action),
        }
    }

    /// The actions that take something from the page.
    fn take(&mut self, at: usize, action: &BrowserAction) -> Result<(), BrowserError> {
        let page = &mut self.page;
        let (name, value) = match action {
            BrowserAction::Text {
                selector,
                name,
                all,
            } => (name, page.element("text", selector, &[json!(all)])?),
            BrowserAction::Attribute {
                selector,
                attribute,
                name,
                all,
            } => {
                let more = [json!(all), json!(attribute)];
                (name, page.element("attribute", selector, &more)?)
            }
            BrowserAction::Evaluate { script, name } => {
                let value = page.evaluate(script)?;
                match name {
                    Some(name) => (name, value),
                    None => return Ok(()),
                }
            }
            _ => {
                let bytes = self.artifact(action)?;
                let name = action.artifact(at).unwrap_or_default();
                return self.artifacts.write(&name, &bytes);
            }
        };
        if value.to_string().len() > MAX_VALUE_BYTES {
            return Err(too_large("the value", MAX_VALUE_BYTES));
        }
        self.values.insert(name.clone(), value);
        Ok(())
    }

    fn artifact(&mut self, action: &BrowserAction) -> Result<Vec<u8>, BrowserError> {
        match action {
            BrowserAction::Screenshot {
                full_page,
                selector,
                format,
                quality,
                ..
            } => {
                let clip = match (selector, full_page) {
                    (Some(selector), _) => Some(self.page.element("box", selector, &[])?),
                    (None, true) => Some(self.whole_page()?),
                    (None, false) => None,
                };
                self.picture(*format, *quality, clip)
            }
            BrowserAction::Pdf {
                format,
                landscape,
                margin,
                background,
                ..
            } => {
                let margin = inches(margin).map_err(BrowserError::page)?;
                let mut paper = paper(*format, margin);
                paper["landscape"] = json!(landscape);
                paper["printBackground"] = json!(background);
                let answer = self.page.ask("Page.printToPDF", paper);
                bytes(answer.map_err(BrowserError::for_good)?)
            }
            BrowserAction::Html { selector, .. } => {
                let html = self.page.function("html", &[json!(selector)])?;
                let html = html.as_str().unwrap_or_default().to_owned();
                if html.len() > MAX_HTML_BYTES {
                    return Err(too_large("the HTML", MAX_HTML_BYTES));
                }
                Ok(self.page.ctx.masked_secrets().text(html).into_bytes())
            }
            _ => Err(BrowserError::page("it has no artifact")),
        }
    }

    fn whole_page(&mut self) -> Result<Value, BrowserError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct LayoutMetrics {
            css_content_size: Value,
        }
        let metrics: LayoutMetrics = self.page.ask("Page.getLayoutMetrics", json!({}))?;
        let most = MAX_PICTURE_SIDE / self.job.viewport.scale;
        let side = |name| {
            metrics.css_content_size[name]
                .as_f64()
                .unwrap_or(1.0)
                .clamp(1.0, most)
        };
        Ok(json!({ "x": 0, "y": 0, "width": side("width"), "height": side("height") }))
    }

    fn picture(
        &mut self,
        format: BrowserImageFormat,
        quality: Option<u8>,
        clip: Option<Value>,
    ) -> Result<Vec<u8>, BrowserError> {
        let mut params = json!({ "format": format.name() });
        if let Some(quality) = quality {
            params["quality"] = json!(quality);
        }
        if let Some(mut clip) = clip {
            let is_too_large = ["width", "height"].iter().any(|side| {
                let side = clip[side].as_f64().unwrap_or_default();
                side * self.job.viewport.scale > MAX_PICTURE_SIDE
            });
            if is_too_large {
                return Err(BrowserError::page(format_args!(
                    "it is wider or taller than {MAX_PICTURE_SIDE} pixels of the picture"
                )));
            }
            clip["scale"] = json!(1);
            params["clip"] = clip;
            params["captureBeyondViewport"] = json!(true);
        }
        bytes(self.page.ask("Page.captureScreenshot", params)?)
    }

    fn fill(&mut self, selector: &str, value: &SecretText) -> Result<(), BrowserError> {
        let host = match value {
            SecretText::Plain(_) => Value::Null,
            SecretText::Secret(_) => self.page.evaluate("location.hostname")?,
        };
        let secret = value.read(self.page.ctx, host.as_str());
        let secret = secret.map_err(BrowserError::Other)?;
        let filled = [json!(secret.reveal()), host];
        self.page.element("fill", selector, &filled).map(drop)
    }

    fn upload(&mut self, selector: &str, path: &Path) -> Result<(), BrowserError> {
        let refused = |why: &str| BrowserError::page(format_args!("'{}' {why}", path.display()));
        if !path.is_file() {
            return Err(refused("is not a file"));
        }
        let path = path.to_str().ok_or_else(|| refused("is not UTF-8"))?;
        self.page.upload(selector, path)
    }

    fn wait(&mut self, action: &BrowserAction) -> Result<(), BrowserError> {
        let BrowserAction::Wait {
            selector,
            state,
            ms,
            url,
            script,
            timeout_ms,
        } = action
        else {
            return Ok(());
        };
        self.begin(timeout_ms.or(*ms));
        if let Some(ms) = ms {
            return self.page.pause(Duration::from_millis(*ms));
        }
        if let Some(selector) = selector {
            let state = [json!(state)];
            return self.page.element("state", selector, &state).map(drop);
        }
        let url = url.as_deref();
        let script = script.as_deref().unwrap_or("location.href");
        let holds = |value: &Value| match (url, value) {
            (Some(pattern), Value::String(at)) => fits(pattern, at),
            (Some(_), _) => false,
            (None, value) => is_true(value),
        };
        self.page.until_done(|page| {
            let value = page.evaluate(script)?;
            let why = match url {
                Some(url) => format!("the URL is {value}, not '{url}'"),
                None => format!("the script came to {value}"),
            };
            Ok(Tried {
                why: (!holds(&value)).then_some(why),
                done: value,
            })
        })?;
        Ok(())
    }

    /// Keeps what helps to find out why it failed; says where.
    pub(super) fn keep_failure(&mut self) -> Option<String> {
        self.page.begin(FAILURE_PICTURE_WITHIN);
        let picture = self.picture(BrowserImageFormat::Png, None, None).ok()?;
        self.artifacts.write(FAILURE_PICTURE, &picture).ok()?;
        let written = self.artifacts.written.last()?;
        Some(written.path.display().to_string())
    }
}

fn too_large(what: &str, limit_bytes: usize) -> BrowserError {
    BrowserError::page(format_args!("{what} is larger than {limit_bytes} bytes"))
}

fn cookies(job: &BrowserJob, page: &BrowserPage<'_>) -> Result<Value, BrowserError> {
    let mut cookies = Vec::new();
    for cookie in &job.cookies {
        let of_url = || host_of(job.url.as_deref()?);
        let domain = cookie.domain.as_deref().or_else(of_url).unwrap_or_default();
        let host = domain.trim_start_matches('.');
        let value = cookie.value.read(page.ctx, Some(host));
        let value = value.map_err(BrowserError::Other)?;
        cookies.push(json!({
            "name": cookie.name, "value": value.reveal(), "domain": domain, "path": cookie.path,
            "secure": cookie.secure, "httpOnly": cookie.http_only,
        }));
    }
    Ok(json!({ "cookies": cookies }))
}

fn blocked(block: &[String]) -> Vec<Value> {
    let patterns =
        block.iter().map(
            |blocked| match RESOURCE_TYPES.iter().find(|(name, _)| name == blocked) {
                Some((_, kind)) => json!({ "urlPattern": "*", "resourceType": kind }),
                None => json!({ "urlPattern": blocked }),
            },
        );
    patterns.collect()
}

fn paper(format: BrowserPaper, margin: f64) -> Value {
    let (width, height) = format.inches();
    json!({
        "paperWidth": width, "paperHeight": height, "marginTop": margin, "marginBottom": margin,
        "marginLeft": margin, "marginRight": margin,
    })
}

fn bytes(answer: PictureData) -> Result<Vec<u8>, BrowserError> {
    base64::decode(&answer.data).ok_or_else(|| BrowserError::browser("its picture cannot be read"))
}

/// As JavaScript sees it.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is_true) => *is_true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// Whether a URL fits a pattern: `*` within a part of the path, `**` over slashes, too.
pub(super) fn fits(pattern: &str, url: &str) -> bool {
    let Some((plain, rest)) = pattern.split_once('*') else {
        return pattern == url;
    };
    let Some(url) = url.strip_prefix(plain) else {
        return false;
    };
    let (rest, end) = match rest.strip_prefix('*') {
        Some(rest) => (rest, url.len()),
        None => (rest, url.find('/').unwrap_or(url.len())),
    };
    (0..=end).any(|at| url.is_char_boundary(at) && fits(rest, &url[at..]))
}
