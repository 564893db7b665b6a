//! What is done on a page, as a payload says it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::handlers::browser::checks::{check_path, check_url, inches, refused};
use crate::handlers::browser::keys::KeyPress;
use crate::handlers::secrets::SecretText;
use crate::{Error, Result};

/// What is done on a page. Each waits until its element is there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
#[allow(missing_docs, reason = "`jobq help browser` describes the fields")]
pub enum BrowserAction {
    /// Opens a URL.
    Goto { url: String },
    /// Clicks on an element.
    Click { selector: String },
    /// Writes into a field, in place of what is there.
    Fill { selector: String, value: SecretText },
    /// Presses a key, as `Enter` or `Control+a`.
    Press {
        key: String,
        #[serde(default)]
        selector: Option<String>,
    },
    /// Chooses an option by its value or its text.
    Select { selector: String, value: String },
    /// Sets a checkbox or a radio button.
    Check {
        selector: String,
        #[serde(default = "yes")]
        checked: bool,
    },
    /// Moves the mouse over an element.
    Hover { selector: String },
    /// Scrolls to the top, the bottom, or an element.
    Scroll {
        #[serde(default)]
        to: Option<BrowserScrollTo>,
        #[serde(default)]
        selector: Option<String>,
    },
    /// Gives a file to a field.
    Upload { selector: String, path: PathBuf },
    /// Waits for one thing: an element, a time, a URL, or a script that comes to a true value.
    Wait {
        #[serde(default)]
        selector: Option<String>,
        #[serde(default)]
        state: BrowserElementState,
        #[serde(default)]
        ms: Option<u64>,
        #[serde(default)]
        url: Option<String>,
        #[serde(default)]
        script: Option<String>,
        #[serde(default, alias = "timeoutMs")]
        timeout_ms: Option<u64>,
    },
    /// Takes the visible text of an element, or of all that fit.
    Text {
        #[serde(default = "body")]
        selector: String,
        name: String,
        #[serde(default)]
        all: bool,
    },
    /// Takes an attribute.
    Attribute {
        selector: String,
        attribute: String,
        name: String,
        #[serde(default)]
        all: bool,
    },
    /// Takes the HTML of the page, or of an element, as an artifact.
    Html {
        #[serde(default = "html_name")]
        name: String,
        #[serde(default)]
        selector: Option<String>,
    },
    /// Takes the value of a script.
    Evaluate {
        script: String,
        #[serde(default)]
        name: Option<String>,
    },
    /// Takes a picture of the page, or of an element.
    Screenshot {
        #[serde(default)]
        name: Option<String>,
        #[serde(default, alias = "fullPage")]
        full_page: bool,
        #[serde(default)]
        selector: Option<String>,
        #[serde(default)]
        format: BrowserImageFormat,
        #[serde(default)]
        quality: Option<u8>,
    },
    /// Prints the page.
    Pdf {
        #[serde(default = "pdf_name")]
        name: String,
        #[serde(default)]
        format: BrowserPaper,
        #[serde(default)]
        landscape: bool,
        #[serde(default = "margin")]
        margin: String,
        #[serde(default)]
        background: bool,
    },
}

fn yes() -> bool {
    true
}

fn body() -> String {
    "body".to_owned()
}

fn html_name() -> String {
    "page.html".to_owned()
}

fn pdf_name() -> String {
    "page.pdf".to_owned()
}

fn margin() -> String {
    "1cm".to_owned()
}

/// Where a page is scrolled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
#[allow(missing_docs, reason = "they say it")]
pub enum BrowserScrollTo {
    Top,
    Bottom,
}

/// What an element is waited for to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum BrowserElementState {
    /// It can be seen.
    #[default]
    Visible,
    /// It cannot be seen, or is not there.
    Hidden,
    /// It is there.
    Attached,
}

/// The format of a screenshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
#[allow(missing_docs, reason = "they say it")]
pub enum BrowserImageFormat {
    #[default]
    Png,
    Jpeg,
    Webp,
}

impl BrowserImageFormat {
    pub(super) fn name(self) -> &'static str {
        match self {
            BrowserImageFormat::Png => "png",
            BrowserImageFormat::Jpeg => "jpeg",
            BrowserImageFormat::Webp => "webp",
        }
    }
}

/// The size of a printed page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "they say it")]
pub enum BrowserPaper {
    A3,
    #[default]
    A4,
    A5,
    Letter,
    Legal,
    Tabloid,
}

impl BrowserPaper {
    /// Width and height in inches.
    pub(super) fn inches(self) -> (f64, f64) {
        match self {
            BrowserPaper::A3 => (11.69, 16.54),
            BrowserPaper::A4 => (8.27, 11.69),
            BrowserPaper::A5 => (5.83, 8.27),
            BrowserPaper::Letter => (8.5, 11.0),
            BrowserPaper::Legal => (8.5, 14.0),
            BrowserPaper::Tabloid => (11.0, 17.0),
        }
    }
}

impl BrowserAction {
    /// As the payload names it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            BrowserAction::Goto { .. } => "goto",
            BrowserAction::Click { .. } => "click",
            BrowserAction::Fill { .. } => "fill",
            BrowserAction::Press { .. } => "press",
            BrowserAction::Select { .. } => "select",
            BrowserAction::Check { .. } => "check",
            BrowserAction::Hover { .. } => "hover",
            BrowserAction::Scroll { .. } => "scroll",
            BrowserAction::Upload { .. } => "upload",
            BrowserAction::Wait { .. } => "wait",
            BrowserAction::Text { .. } => "text",
            BrowserAction::Attribute { .. } => "attribute",
            BrowserAction::Html { .. } => "html",
            BrowserAction::Evaluate { .. } => "evaluate",
            BrowserAction::Screenshot { .. } => "screenshot",
            BrowserAction::Pdf { .. } => "pdf",
        }
    }

    fn selector(&self) -> Option<&str> {
        match self {
            BrowserAction::Click { selector }
            | BrowserAction::Fill { selector, .. }
            | BrowserAction::Select { selector, .. }
            | BrowserAction::Check { selector, .. }
            | BrowserAction::Hover { selector }
            | BrowserAction::Upload { selector, .. }
            | BrowserAction::Text { selector, .. }
            | BrowserAction::Attribute { selector, .. } => Some(selector),
            BrowserAction::Press { selector, .. }
            | BrowserAction::Scroll { selector, .. }
            | BrowserAction::Wait { selector, .. }
            | BrowserAction::Html { selector, .. }
            | BrowserAction::Screenshot { selector, .. } => selector.as_deref(),
            BrowserAction::Goto { .. }
            | BrowserAction::Evaluate { .. }
            | BrowserAction::Pdf { .. } => None,
        }
    }

    /// The name of the artifact of the action at this place.
    pub(super) fn artifact(&self, at: usize) -> Option<String> {
        match self {
            BrowserAction::Screenshot {
                name: None, format, ..
            } => Some(format!("screenshot-{at}.{}", format.name())),
            BrowserAction::Screenshot {
                name: Some(name), ..
            }
            | BrowserAction::Pdf { name, .. }
            | BrowserAction::Html { name, .. } => Some(name.clone()),
            _ => None,
        }
    }

    /// The name of its value in the result.
    pub(super) fn value_name(&self) -> Option<&str> {
        match self {
            BrowserAction::Text { name, .. } | BrowserAction::Attribute { name, .. } => Some(name),
            BrowserAction::Evaluate { name, .. } => name.as_deref(),
            _ => None,
        }
    }

    /// Whether it runs a script of the payload.
    pub(super) fn has_script(&self) -> bool {
        matches!(
            self,
            BrowserAction::Evaluate { .. }
                | BrowserAction::Wait {
                    script: Some(_),
                    ..
                }
        )
    }

    pub(super) fn check(&self) -> Result<()> {
        if self
            .selector()
            .is_some_and(|selector| selector.trim().is_empty())
        {
            return refused("the selector is empty");
        }
        match self {
            BrowserAction::Goto { url } => check_url(url),
            BrowserAction::Press { key, .. } => {
                KeyPress::parse(key).map(drop).map_err(Error::invalid)
            }
            BrowserAction::Scroll { to, selector } if to.is_some() == selector.is_some() => {
                refused("scroll needs one of 'to' and 'selector'")
            }
            BrowserAction::Upload { path, .. } => check_path(path),
            BrowserAction::Wait {
                selector,
                ms,
                url,
                script,
                timeout_ms,
                ..
            } => {
                let given = [
                    selector.is_some(),
                    ms.is_some(),
                    url.is_some(),
                    script.is_some(),
                ];
                if given.iter().filter(|is_given| **is_given).count() != 1 {
                    return refused("wait needs one of 'selector', 'ms', 'url' and 'script'");
                }
                if ms.is_some() && timeout_ms.is_some() {
                    return refused("'timeout_ms' does not go with 'ms'");
                }
                Ok(())
            }
            BrowserAction::Screenshot {
                quality,
                format,
                full_page,
                selector,
                ..
            } => {
                if quality
                    .is_some_and(|quality| quality > 100 || *format == BrowserImageFormat::Png)
                {
                    return refused("'quality' is from 0 to 100, and for jpeg and webp");
                }
                if *full_page && selector.is_some() {
                    return refused("'full_page' does not go with 'selector'");
                }
                Ok(())
            }
            BrowserAction::Pdf { margin, .. } => inches(margin).map(drop),
            _ => Ok(()),
        }
    }
}
