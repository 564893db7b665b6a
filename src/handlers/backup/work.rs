//! One attempt at a backup: the copy, its name, its checksum, and the end of old ones.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::fs::{self, Permissions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::{Clock, timestamp};
use crate::handlers::backup::archive::{Archive, ArchiveObserver, ArchivePlan};
use crate::handlers::backup::name::{CHECKSUM, NamePattern, TIME};
use crate::handlers::backup::sink::{
    Asking, BackupCompression, BackupSink, Fingerprint, read_again,
};
use crate::handlers::backup::{
    Backup, BackupNote, BackupOf, BackupResult, BackupSettings, KeptBackup,
};
use crate::handlers::built_in::failed;
use crate::handlers::glob::Glob;
use crate::handlers::input_file::QueueFiles;
use crate::handlers::output_file::{OutputFile, OutputFiles, remove_file};
use crate::handlers::paths::check_roots;
use crate::handlers::zone::zone_of;
use crate::model::job::Progress;
use crate::queue::Database;
use crate::runner::context::Context;
use crate::runner::handler::Failure;
use crate::{Error, Job, Level};

/// How many warnings are listed.
const WARNINGS: usize = 100;
/// A backup may hold what only its owner may read.
const MODE: u32 = 0o600;

pub(super) struct BackupWork<'a> {
    job: &'a Backup,
    ctx: &'a Context,
    /// The folder of the backups.
    to: PathBuf,
    pattern: NamePattern,
    time: Timestamp,
    name: String,
    files: OutputFiles,
    /// It lacks files that could not be read.
    is_incomplete: Cell<bool>,
    result: RefCell<BackupResult>,
}

impl<'a> BackupWork<'a> {
    /// Looks at everything that is named before anything is written.
    pub(super) fn begin(
        job: &'a Backup,
        settings: &BackupSettings,
        ctx: &'a Context,
    ) -> Result<BackupWork<'a>, Failure> {
        for source in &job.source {
            let found = fs::metadata(source);
            let found = found.map_err(|error| failed(ctx, Error::io(source.display(), error)))?;
            if job.what == BackupOf::Sqlite && !found.is_file() {
                let why = format!("{}: it is not a file", source.display());
                return Err(Failure::permanent(why));
            }
            check_roots(Backup::KIND, settings.roots.as_deref(), source)
                .map_err(|error| failed(ctx, error))?;
        }
        let to = target(job, settings, ctx)?;
        let pattern = NamePattern::parse(&name_of(job, ctx)).map_err(Failure::permanent)?;
        let time = timestamp(Clock::default().now_ms() / 1000 * 1000);
        Ok(BackupWork {
            name: pattern.at(time),
            job,
            ctx,
            to,
            pattern,
            time,
            files: OutputFiles::of(ctx)?,
            is_incomplete: Cell::new(false),
            result: RefCell::default(),
        })
    }

    pub(super) fn run(self) -> Result<BackupResult, Failure> {
        let place = self.to.join(&self.name);
        self.result.borrow_mut().path.clone_from(&place);
        if self.job.dry_run {
            if self.job.what == BackupOf::Files {
                self.archive(None::<io::Sink>)?;
            }
            self.retain()?;
            return Ok(self.result.into_inner());
        }
        let parts = self.files.remove_parts(&self.to);
        parts.map_err(|error| self.io_failed(&self.to, error))?;
        let mut file = match self.job.what {
            BackupOf::Files => self.folders(&place)?,
            BackupOf::Queue | BackupOf::Sqlite => self.database(&place)?,
        };
        self.verify(&mut file, &place)?;
        self.take_name(file, &place)?;
        self.retain()?;
        Ok(self.result.into_inner())
    }

    fn goes_on(&self) -> impl Fn() -> bool + Send + 'static {
        let cancellation = self.ctx.cancellation().clone();
        move || !cancellation.is_cancelled()
    }

    fn failed(&self, error: Error) -> Failure {
        failed(self.ctx, error)
    }

    fn io_failed(&self, path: &Path, error: io::Error) -> Failure {
        self.failed(Error::io(path.display(), error))
    }

    /// Folders and files in a tar archive.
    fn folders(&self, place: &Path) -> Result<OutputFile, Failure> {
        let io_failed = |error| self.io_failed(place, error);
        let mut file = self.files.create(place).map_err(io_failed)?;
        let sink = self.sink(&mut file).map_err(io_failed)?;
        if let Some(sink) = self.archive(Some(sink))? {
            self.wrote(sink.finish().map_err(io_failed)?);
        }
        let result = self.result.borrow();
        match result.warnings.first().filter(|_| self.job.strict) {
            Some(first) => {
                let more = result.warnings.len() as u64 + result.unlisted - 1;
                let why = format!("{}: {} (and {more} more)", first.path, first.why);
                Err(Failure::retry(why))
            }
            None => Ok(file),
        }
    }

    fn archive<W: Write>(&self, to: Option<W>) -> Result<Option<W>, Failure> {
        let exclude = self.job.exclude.iter().map(|text| Glob::parse(text));
        let plan = ArchivePlan {
            sources: &self.job.source,
            exclude: exclude
                .collect::<crate::Result<_>>()
                .map_err(Failure::permanent)?,
            target: fs::metadata(&self.to).ok().map(|to| (to.dev(), to.ino())),
            name: &self.pattern,
            queue: QueueFiles::of(self.ctx),
        };
        let mut archive = Archive::new(&plan, self, to);
        let written = archive.write();
        self.result.borrow_mut().files = Some(archive.files);
        self.is_incomplete.set(archive.is_incomplete);
        written.map_err(|error| self.failed(Error::io("the archive cannot be written", error)))
    }

    /// A copy of a database, checked before it is compressed.
    fn database(&self, place: &Path) -> Result<OutputFile, Failure> {
        let io_failed = |error| self.io_failed(place, error);
        let compress = self.job.compression();
        let copied = match compress {
            BackupCompression::None => place.to_owned(),
            BackupCompression::Zstd => self.to.join(format!("{}.copy", self.name)),
        };
        let mut copy = self.files.create_named(&copied).map_err(io_failed)?;
        restrict(&mut copy).map_err(io_failed)?;
        self.say("copying");
        match self.job.source.first() {
            Some(source) => Database::open(source, Box::new(self.goes_on()))
                .and_then(|database| database.copy_into(copy.part()))
                .map_err(|error| error.context(source.display())),
            None => self.ctx.queue().copy_into(copy.part(), self.goes_on()),
        }
        .map_err(|error| self.failed(error))?;
        if self.job.verify {
            self.say("checking");
            let rows = Database::open_immutable(copy.part(), Box::new(self.goes_on()))
                .and_then(|copy| copy.check())
                .map_err(|error| self.failed(error.context("the copy")))?;
            self.result.borrow_mut().rows = Some(rows);
        }
        if compress == BackupCompression::None {
            let read = read_again(copy.file(), compress, self.goes_on()).map_err(io_failed)?;
            self.wrote(read);
            return Ok(copy);
        }
        self.say("compressing");
        let mut file = self.files.create(place).map_err(io_failed)?;
        let mut sink = self.sink(&mut file).map_err(io_failed)?;
        copy.file().rewind().map_err(io_failed)?;
        io::copy(&mut Asking(copy.file(), self.goes_on()), &mut sink).map_err(io_failed)?;
        self.wrote(sink.finish().map_err(io_failed)?);
        Ok(file)
    }

    fn sink<'f>(&self, file: &'f mut OutputFile) -> io::Result<BackupSink<'f>> {
        restrict(file)?;
        BackupSink::new(file.file(), self.job.compression())
    }

    fn wrote(&self, written: Fingerprint) {
        let mut result = self.result.borrow_mut();
        (result.bytes, result.sha256) = (written.bytes, written.sha256);
    }

    fn say(&self, what: &str) {
        self.ctx.progress(Progress::default().message(what));
    }

    /// Reads the file again.
    fn verify(&self, file: &mut OutputFile, place: &Path) -> Result<(), Failure> {
        if !self.job.verify {
            return Ok(());
        }
        self.say("reading it again");
        let read = read_again(file.file(), self.job.compression(), self.goes_on())
            .map_err(|error| self.io_failed(place, error))?;
        match read.sha256 == self.result.borrow().sha256 {
            true => Ok(()),
            false => Err(Failure::retry(format!(
                "{}: what was written is not what is read again",
                place.display()
            ))),
        }
    }

    /// Gives the file its name, and writes its checksum beside it.
    fn take_name(&self, file: OutputFile, place: &Path) -> Result<(), Failure> {
        if self.ctx.is_cancelled() {
            return Err(Failure::cancelled());
        }
        let beside = self.to.join(format!("{}{CHECKSUM}", self.name));
        let finished = match self.pattern.has_time() {
            true => file.finish_new(),
            // The checksum of the one before is not for this one.
            false => remove_file(&beside).and_then(|()| file.finish()),
        };
        match finished {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let why = format!("another backup has the name {}", place.display());
                return Err(Failure::retry_after(why, Duration::from_secs(1)));
            }
            finished => finished.map_err(|error| self.io_failed(place, error))?,
        }
        let sha256 = &self.result.borrow().sha256;
        let write = || {
            let mut file = self.files.create(&beside)?;
            writeln!(file.file(), "{sha256}  {}", self.name)?;
            file.finish()
        };
        write().map_err(|error| self.io_failed(&beside, error))
    }

    /// Removes the backups that no rule keeps.
    fn retain(&self) -> Result<(), Failure> {
        let Some(rules) = self.job.retention else {
            return Ok(());
        };
        if self.is_incomplete.get() {
            self.warn(
                &self.to,
                "the old backups stay, as this one lacks what could not be read",
            );
            return Ok(());
        }
        let mut backups = self
            .backups()
            .map_err(|error| self.io_failed(&self.to, error))?;
        if !backups.iter().any(|(_, name)| *name == self.name) {
            backups.push((self.time, self.name.clone()));
        }
        backups.sort_by_key(|(time, _)| Reverse(*time));
        let times: Vec<Timestamp> = backups.iter().map(|(time, _)| *time).collect();
        let reasons = rules.reasons(&times, self.time, &zone_of(self.ctx));
        for ((_, name), why) in backups.into_iter().zip(reasons) {
            let mut why: Vec<String> = why.into_iter().map(str::to_owned).collect();
            if name == self.name {
                why.push("it is the new one".to_owned());
            }
            if !why.is_empty() {
                self.result.borrow_mut().kept.push(KeptBackup { name, why });
            } else if self.job.dry_run || self.remove(&name) {
                self.result.borrow_mut().removed.push(name);
            }
        }
        Ok(())
    }

    /// All backups of such a name.
    fn backups(&self) -> io::Result<Vec<(Timestamp, String)>> {
        let mut backups = Vec::new();
        let entries = match fs::read_dir(&self.to) {
            Err(error) if self.job.dry_run && error.kind() == io::ErrorKind::NotFound => {
                return Ok(backups);
            }
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if let Some(time) = self.pattern.time_of(&name)
                && entry.file_type()?.is_file()
            {
                backups.push((time, name));
            }
        }
        Ok(backups)
    }

    /// The checksum goes first: a backup without one is found again.
    fn remove(&self, name: &str) -> bool {
        let path = self.to.join(name);
        let checksum = self.to.join(format!("{name}{CHECKSUM}"));
        match remove_file(&checksum).and_then(|()| remove_file(&path)) {
            Err(error) => {
                self.warn(&path, &error.to_string());
                false
            }
            Ok(()) => {
                self.ctx.log(Level::Info, format!("removed {path:?}"));
                true
            }
        }
    }
}

impl ArchiveObserver for BackupWork<'_> {
    fn goes_on(&self) -> bool {
        !self.ctx.is_cancelled()
    }

    fn wrote(&self, files: u64, bytes: u64) {
        let message = format!("{files} files, {bytes} bytes");
        self.ctx.progress(Progress::default().message(message));
    }

    fn warn(&self, path: &Path, why: &str) {
        let mut result = self.result.borrow_mut();
        if result.warnings.len() == WARNINGS {
            result.unlisted += 1;
            return;
        }
        self.ctx.log(Level::Warn, format!("{path:?}: {why}"));
        result.warnings.push(BackupNote {
            path: path.to_string_lossy().into_owned(),
            why: why.to_owned(),
        });
    }
}

fn restrict(file: &mut OutputFile) -> io::Result<()> {
    file.file().set_permissions(Permissions::from_mode(MODE))
}

/// The folder of the backups, which is made if the one above it exists.
fn target(job: &Backup, settings: &BackupSettings, ctx: &Context) -> Result<PathBuf, Failure> {
    let beside = || ctx.queue().path().with_file_name("backups");
    let to = job.to.clone().or_else(|| settings.to.clone());
    let to = to.unwrap_or_else(beside);
    let io_failed = |error| failed(ctx, Error::io(to.display(), error));
    let to =
        std::path::absolute(&to).map_err(|error| failed(ctx, Error::io(to.display(), error)))?;
    if job.to.is_some() {
        check_roots(Backup::KIND, settings.roots.as_deref(), &to)
            .map_err(|error| failed(ctx, error))?;
    }
    if job.dry_run && !to.exists() {
        return std::path::absolute(&to).map_err(io_failed);
    }
    match fs::create_dir(&to) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(io_failed(error)),
        _ => to.canonicalize().map_err(io_failed),
    }
}

/// The pattern of the name.
fn name_of(job: &Backup, ctx: &Context) -> String {
    if let Some(name) = &job.name {
        return name.clone();
    }
    let (file, end) = match job.what {
        BackupOf::Queue | BackupOf::Sqlite => {
            let source = job.source.first().cloned();
            (source.unwrap_or_else(|| ctx.queue().path()), "db")
        }
        BackupOf::Files => (PathBuf::from("files"), "tar"),
    };
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let stem = stem.trim_start_matches('.').replace(['{', '}'], "_");
    let compressed = match job.compression() {
        BackupCompression::Zstd => ".zst",
        BackupCompression::None => "",
    };
    format!("{stem}-{TIME}.{end}{compressed}")
}
