//! What is done to elements: each function of `elements.js` is tried until it has done it or the time is up.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::handlers::browser::class::{BrowserError, FailureClass};
use crate::handlers::browser::keys::KeyPress;
use crate::handlers::browser::page::BrowserPage;

const FUNCTIONS: &str = include_str!("elements.js");

/// The time between two tries.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(100);

/// What a try has come to.
#[derive(Deserialize)]
pub(super) struct Tried {
    #[serde(default)]
    pub(super) done: Value,
    pub(super) why: Option<String>,
}

/// A place on a page, in CSS pixels.
#[derive(Deserialize)]
struct PagePoint {
    x: f64,
    y: f64,
}

impl BrowserPage<'_> {
    /// Calls a function with a selector and other arguments until it is done.
    pub(super) fn element(
        &mut self,
        function: &str,
        selector: &str,
        more: &[Value],
    ) -> Result<Value, BrowserError> {
        let mut arguments = vec![Value::from(selector)];
        arguments.extend_from_slice(more);
        self.function(function, &arguments)
            .map_err(|error| error.context(format_args!("'{selector}'")))
    }

    /// Calls a function until it is done.
    pub(super) fn function(&mut self, name: &str, of: &[Value]) -> Result<Value, BrowserError> {
        let of: Vec<String> = of.iter().map(Value::to_string).collect();
        let script = format!("({FUNCTIONS}).{name}({})", of.join(", "));
        self.until_done(|page| {
            let tried = page.evaluate(&script)?;
            serde_json::from_value(tried).map_err(BrowserError::page)
        })
    }

    /// Tries until it is done or the time is up.
    pub(super) fn until_done(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<Tried, BrowserError>,
    ) -> Result<Value, BrowserError> {
        let mut pause = FIRST_PAUSE;
        let mut last_why = None;
        loop {
            let why = match attempt(self) {
                Ok(Tried { done, why: None }) => return Ok(done),
                Ok(Tried { why: Some(why), .. }) => why,
                // The page is just going, and the next one coming.
                Err(BrowserError::Refused(why)) => why,
                // What the try before came to says more than that this one had no time.
                Err(BrowserError::Failed(FailureClass::Timeout, why)) => last_why.unwrap_or(why),
                Err(error) => return Err(error),
            };
            if self.is_late() {
                return Err(BrowserError::timeout(why));
            }
            last_why = Some(why);
            self.pause(pause)?;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    pub(super) fn click(&mut self, selector: &str) -> Result<(), BrowserError> {
        let point = self.move_mouse(selector)?;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({
                "type": kind, "x": point.x, "y": point.y, "button": "left", "clickCount": 1,
            });
            let _done: Value = self.ask("Input.dispatchMouseEvent", event)?;
        }
        Ok(())
    }

    pub(super) fn hover(&mut self, selector: &str) -> Result<(), BrowserError> {
        self.move_mouse(selector).map(drop)
    }

    fn move_mouse(&mut self, selector: &str) -> Result<PagePoint, BrowserError> {
        let point = self.element("point", selector, &[])?;
        let point: PagePoint = serde_json::from_value(point).map_err(BrowserError::page)?;
        let event = json!({ "type": "mouseMoved", "x": point.x, "y": point.y });
        let _done: Value = self.ask("Input.dispatchMouseEvent", event)?;
        Ok(point)
    }

    pub(super) fn press(&mut self, key: &KeyPress) -> Result<(), BrowserError> {
        let kinds = match key.text.is_empty() {
            true => ["rawKeyDown", "keyUp"],
            false => ["keyDown", "keyUp"],
        };
        for kind in kinds {
            let mut event = json!({
                "type": kind, "key": key.key, "modifiers": key.modifiers,
                "windowsVirtualKeyCode": key.code, "code": key.key,
            });
            if kind == "keyDown" {
                event["text"] = Value::from(&*key.text);
            }
            let _done: Value = self.ask("Input.dispatchKeyEvent", event)?;
        }
        Ok(())
    }

    pub(super) fn set_checked(
        &mut self,
        selector: &str,
        checked: bool,
    ) -> Result<(), BrowserError> {
        if self.element("isChecked", selector, &[])? == checked {
            return Ok(());
        }
        self.click(selector)?;
        match self.element("isChecked", selector, &[])? == checked {
            true => Ok(()),
            false => Err(BrowserError::page(format_args!(
                "'{selector}': a click does not change it"
            ))),
        }
    }

    pub(super) fn upload(&mut self, selector: &str, path: &str) -> Result<(), BrowserError> {
        let quoted = Value::from(selector).to_string();
        let script = format!("document.querySelector({quoted})");
        self.element("state", selector, &[json!("attached")])?;
        let Some(object) = self.object(&script)? else {
            return Err(BrowserError::timeout(format_args!(
                "'{selector}' is not there"
            )));
        };
        let files = json!({ "files": [path], "objectId": object });
        let _done: Value = self
            .ask("DOM.setFileInputFiles", files)
            .map_err(BrowserError::for_good)?;
        Ok(())
    }
}
