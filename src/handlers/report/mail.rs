//! The mail of a report: a child of the job, so that a server that refuses it does not run the queries again.

use std::fmt::Write;
use std::io::{Read, Seek};

use crate::handlers::email::{Email, EmailFile, MAX_FILE_BYTES};
use crate::handlers::output_file::OutputFile;
use crate::handlers::report::ReportFormat;
use crate::handlers::report::work::{ReportWork, WrittenReport};
use crate::model::job::NewJob;
use crate::plural;
use crate::runner::handler::Failure;

/// A larger report is attached; mail readers cut longer texts.
const MAX_BODY_BYTES: u64 = 64 << 10;

const SUBJECT: &str = "{name} {date}";

impl ReportWork<'_> {
    /// Spawns the mail with the attempt.
    pub(super) fn mail(
        &self,
        file: &mut OutputFile,
        written: &WrittenReport,
        bytes: u64,
    ) -> Result<(), Failure> {
        let subject = self.job.subject.as_deref().unwrap_or(SUBJECT);
        let mut mail = Email::new(
            self.job.recipients.clone(),
            self.names().fill(subject),
            self.summary(written),
        );
        match &written.tables {
            Some(tables) if bytes <= MAX_BODY_BYTES => {
                let body = read(file).map_err(Failure::retry)?;
                if self.job.format() == ReportFormat::Text {
                    mail.text = Some(body);
                } else {
                    let mut text = Vec::new();
                    tables
                        .write_text(&self.heading(), &mut text)
                        .map_err(Failure::retry)?;
                    if text.len() as u64 <= MAX_BODY_BYTES {
                        mail.text = Some(String::from_utf8_lossy(&text).into_owned());
                    }
                    mail.html = Some(body);
                }
            }
            _ if bytes > MAX_FILE_BYTES => {
                return Err(Failure::permanent(format!(
                    "the report has {bytes} bytes, more than a mail takes ({MAX_FILE_BYTES}); have fewer rows, or no \
                     'recipients'"
                )));
            }
            _ => {
                let text = mail.text.get_or_insert_default();
                // What the file has for a name, the recipient sees.
                let _ = writeln!(text, "\nThe report is attached.");
                mail.attachments.push(EmailFile {
                    path: Some(self.place.clone()),
                    ..EmailFile::default()
                });
            }
        }
        // Whoever runs reports of this queue runs their mails.
        let job = NewJob::of(&mail).queue(self.ctx.queue_name());
        self.ctx.spawn_child(job)
    }

    /// What is in the report, in a few lines.
    fn summary(&self, written: &WrittenReport) -> String {
        let mut text = format!("{}\n\n", self.heading());
        for (title, rows) in &written.rows {
            let _ = writeln!(text, "{title}: {}", plural::count(*rows, "row"));
        }
        text
    }
}

fn read(file: &mut OutputFile) -> std::io::Result<String> {
    let mut text = String::new();
    file.file().rewind()?;
    file.file().read_to_string(&mut text)?;
    Ok(text)
}
