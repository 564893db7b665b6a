//! The files that a job leaves: `ARTIFACTS/JOB/ATTEMPT/NAME`, and a link `ARTIFACTS/JOB/latest` to the attempt that has
//! completed last.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::handlers::browser::BrowserArtifact;
use crate::handlers::browser::class::BrowserError;
use crate::handlers::output_file::{OutputFiles, remove_file};
use crate::model::hex::hex;
use crate::runner::context::Context;
use crate::runner::handler::Failure;

pub(super) struct ArtifactFolder {
    of_job: PathBuf,
    attempt: u32,
    files: OutputFiles,
    pub(super) written: Vec<BrowserArtifact>,
}

impl ArtifactFolder {
    pub(super) fn new(root: &Path, ctx: &Context) -> Result<ArtifactFolder, Failure> {
        let database = ctx.queue().path();
        let beside = database.parent().unwrap_or(Path::new("/"));
        Ok(ArtifactFolder {
            of_job: beside.join(root).join(ctx.job_id().to_string()),
            attempt: ctx.attempt(),
            files: OutputFiles::of(ctx)?,
            written: Vec::new(),
        })
    }

    /// Writes a file, whole or not at all.
    pub(super) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), BrowserError> {
        let folder = self.of_job.join(self.attempt.to_string());
        let path = folder.join(name);
        let written = fs::create_dir_all(&folder).and_then(|()| {
            let mut file = self.files.create(&path)?;
            file.file().write_all(bytes)?;
            file.finish()
        });
        written.map_err(|error| {
            let why = format_args!("'{}' cannot be written: {error}", path.display());
            BrowserError::Other(Failure::retry(why))
        })?;
        self.written.push(BrowserArtifact {
            name: name.to_owned(),
            path,
            bytes: bytes.len() as u64,
            sha256: hex(&Sha256::digest(bytes)),
        });
        Ok(())
    }

    /// The attempt has completed.
    pub(super) fn link_latest(&self) -> io::Result<()> {
        if self.written.is_empty() {
            return Ok(());
        }
        link_latest(&self.of_job, self.attempt)
    }
}

/// An attempt whose runner was taken for lost may complete after a later one: the link stays with that.
fn link_latest(of_job: &Path, attempt: u32) -> io::Result<()> {
    let latest = of_job.join("latest");
    let linked = fs::read_link(&latest).ok();
    let linked: Option<u32> = linked.and_then(|linked| linked.to_str()?.parse().ok());
    if linked.is_some_and(|linked| linked > attempt) {
        return Ok(());
    }
    let part = of_job.join(format!(".latest-{attempt}"));
    remove_file(&part)?;
    std::os::unix::fs::symlink(attempt.to_string(), &part)?;
    fs::rename(&part, latest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_is_the_last_attempt_that_completed() {
        let folder = tempfile::tempdir().unwrap();
        for (attempt, latest) in [(2, "2"), (1, "2"), (10, "10"), (9, "10")] {
            link_latest(folder.path(), attempt).unwrap();
            let linked = fs::read_link(folder.path().join("latest")).unwrap();
            assert_eq!(linked, Path::new(latest));
        }
    }
}
