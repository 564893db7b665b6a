//! The texts of a mail: as the payload has them, or made from templates.

use std::io::{self, Write};
use std::path::Path;

use minijinja::{ErrorKind, Template};

use crate::handlers::built_in::failure_of;
use crate::handlers::email::header::check_line;
use crate::handlers::email::payload::{Email, EmailTemplate};
use crate::handlers::input_file::QueueFiles;
use crate::handlers::template::{self, MAX_TEXT_BYTES, too_long};
use crate::runner::handler::Failure;

/// Maximum number of instructions of a template.
const FUEL: u64 = 100_000;

/// The texts of a mail.
pub(super) struct MailTexts {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: Option<String>,
}

impl MailTexts {
    /// The texts of the mail; `folder` has the templates.
    pub(super) fn of(
        mail: &Email,
        folder: Option<&Path>,
        queue: &QueueFiles,
    ) -> Result<MailTexts, Failure> {
        let texts = match &mail.template {
            None => MailTexts {
                subject: mail.subject.clone().unwrap_or_default(),
                text: mail.text.clone().unwrap_or_default(),
                html: mail.html.clone(),
            },
            Some(template) => from_template(mail, template, (folder, queue))?,
        };
        check_line("the subject", &texts.subject).map_err(Failure::permanent)?;
        if [Some(&texts.text), texts.html.as_ref()]
            .into_iter()
            .flatten()
            .any(|text| text.contains('\0'))
        {
            return Err(Failure::permanent("a text has a NUL in it"));
        }
        if texts.html.is_none() && !mail.inline.is_empty() {
            return Err(Failure::permanent(
                "'inline' images are shown by HTML, and the template has no file for it",
            ));
        }
        Ok(MailTexts {
            text: line_ends(&texts.text),
            html: texts.html.as_deref().map(line_ends),
            ..texts
        })
    }
}

/// Ends every line with CRLF.
fn line_ends(text: &str) -> String {
    text.replace("\r\n", "\n")
        .replace('\r', "\n")
        .replace('\n', "\r\n")
}

fn from_template(
    mail: &Email,
    template: &EmailTemplate,
    (folder, queue): (Option<&Path>, &QueueFiles),
) -> Result<MailTexts, Failure> {
    let env = template::environment(folder.map(|folder| (folder, queue)), FUEL);
    let own = |name, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => {
            let template = env
                .template_from_named_str(name, text)
                .map_err(|error| failure_of(template::template_error(&error)))?;
            render(&template, mail).map(Some)
        }
    };
    let subject = own("subject", &mail.subject)?;
    let EmailTemplate::Named(name) = template else {
        return Ok(MailTexts {
            subject: subject.unwrap_or_default(),
            text: own("text", &mail.text)?.unwrap_or_default(),
            html: own("html.html", &mail.html)?,
        });
    };
    let Some(folder) = folder else {
        return Err(Failure::permanent(format_args!(
            "the server '{}' has no 'templates' in [kinds.email.settings]",
            mail.server
        )));
    };
    let file = |end: &str| match env.get_template(&format!("{name}.{end}")) {
        Ok(template) => render(&template, mail).map(Some),
        Err(error) if error.kind() == ErrorKind::TemplateNotFound => Ok(None),
        Err(error) => Err(failure_of(template::template_error(&error))),
    };
    let missing = |end: &str| {
        let folder = folder.display();
        Failure::permanent(format_args!(
            "the template '{name}' has no {name}.{end} in {folder}"
        ))
    };
    let subject = match subject {
        Some(subject) => subject,
        None => file("subject")?
            .ok_or_else(|| missing("subject"))?
            .trim()
            .to_owned(),
    };
    Ok(MailTexts {
        subject,
        text: file("txt")?.ok_or_else(|| missing("txt"))?,
        html: file("html")?,
    })
}

fn render(template: &Template<'_, '_>, mail: &Email) -> Result<String, Failure> {
    let mut text = Bounded(Vec::new());
    let variables = minijinja::value::Serde(&mail.variables).into();
    template::render(template, variables, &mut text).map_err(failure_of)?;
    String::from_utf8(text.0).map_err(Failure::permanent)
}

/// A text of limited size.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_TEXT_BYTES {
            return Err(too_long());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::io::Errno;
    use serde_json::{Value, json};

    use super::*;

    fn texts(fields: &Value, folder: &Path) -> Result<MailTexts, Failure> {
        let mut payload = json!({ "to": "a@x.org" });
        payload
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let mail = serde_json::from_value(payload).unwrap();
        MailTexts::of(&mail, Some(folder), &QueueFiles::default())
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn a_template_is_files_of_one_name() {
        let folder = folder(&[
            ("hi.subject", "Hello {{ name }}\n"),
            ("hi.txt", "Dear {{ name }},\n{% include 'foot.txt' %}"),
            ("hi.html", "<p>{{ name }}</p>"),
            ("foot.txt", "bye"),
        ]);
        let made = texts(
            &json!({ "template": "hi", "variables": { "name": "A<b>" } }),
            folder.path(),
        )
        .unwrap();
        assert_eq!(made.subject, "Hello A<b>");
        assert_eq!(made.text, "Dear A<b>,\r\nbye");
        assert_eq!(made.html.as_deref(), Some("<p>A&lt;b&gt;</p>"));
        let fields = json!({ "template": "hi", "subject": "To {{ name }}", "variables": { "name": "{{ 7 * 7 }}" } });
        let made = texts(&fields, folder.path()).unwrap();
        assert_eq!(made.subject, "To {{ 7 * 7 }}", "a variable is no template");
    }

    #[test]
    fn a_payloads_own_texts_are_templates_only_when_it_says_so() {
        let folder = folder(&[]);
        let fields = |template| {
            json!({
                "subject": "{{ n }}", "text": "a\r{{ n }}\nb", "html": "{{ n }}", "variables": { "n": "<1>" }, "template": template,
            })
        };
        let made = texts(&fields(true), folder.path()).unwrap();
        assert_eq!(
            (made.text.as_str(), made.html.as_deref()),
            ("a\r\n<1>\r\nb", Some("&lt;1&gt;"))
        );
        let made = texts(&fields(false), folder.path()).unwrap();
        assert_eq!(
            (made.subject.as_str(), made.html.as_deref()),
            ("{{ n }}", Some("{{ n }}"))
        );
    }

    #[test]
    fn a_template_that_does_not_work_is_named() {
        let folder = folder(&[
            ("a.subject", "x"),
            ("b.subject", "x"),
            ("b.txt", "Dear {{ nmae }},"),
            ("c.subject", "x"),
            (
                "c.txt",
                "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
            ),
            ("d.subject", "x"),
            ("d.txt", "{% for a in range(999) %}{{ long }}{% endfor %}"),
            ("e.subject", "{{ name }}"),
            ("e.txt", "x"),
            ("g.subject", "x"),
            ("g.txt", "{% include 'sub' %}"),
            ("h.subject", "x"),
            ("h.txt", "x"),
        ]);
        fs::create_dir(folder.path().join("sub")).unwrap();
        for (name, why) in [
            ("a", "no a.txt in"),
            ("b", "b.txt:1"),
            ("c", "fuel"),
            ("d", "longer than 4 MiB"),
            ("e", "the subject has a line break"),
            ("f", "no f.subject in"),
            ("../a", "no ../a.subject in"),
            ("/etc/a", "no /etc/a.subject in"),
            ("g", "sub cannot be read"),
            ("g", "it is not a file"),
        ] {
            let variables = json!({ "long": "x".repeat(10_000), "name": "a\r\nBcc: b@x.org" });
            let fields = json!({ "template": name, "variables": variables });
            let failure = texts(&fields, folder.path()).err().unwrap();
            assert!(failure.is_permanent(), "{name}: {failure}");
            assert!(failure.to_string().contains(why), "{name}: {failure}");
        }
        let fields = json!({ "template": "h", "inline": [{ "path": "a.png", "cid": "a" }] });
        let failure = texts(&fields, folder.path()).err().unwrap();
        assert!(failure.to_string().contains("no file for it"), "{failure}");
    }

    #[test]
    fn a_template_that_cannot_be_read_just_now_is_tried_again() {
        let error = |errno: Errno| {
            let error = minijinja::Error::new(ErrorKind::InvalidOperation, "a.txt");
            failure_of(template::template_error(
                &error.with_source(io::Error::from(errno)),
            ))
        };
        assert!(!error(Errno::MFILE).is_permanent());
        assert!(!error(Errno::IO).is_permanent());
        assert!(error(Errno::ACCESS).is_permanent());
    }
}
