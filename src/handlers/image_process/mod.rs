//! The kind `image_process`: makes pictures of pictures.

#[cfg(feature = "image-avif")]
mod avif;
mod decode;
mod encode;
mod failure;
mod geometry;
mod payload;
mod picture;
mod place;
#[cfg(test)]
mod tests;
mod work;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::handlers::built_in::BuiltInJob;
use crate::handlers::http::{HttpSession, HttpSettings, HttpTimeouts};
use crate::handlers::image_process::failure::ImageError;
use crate::handlers::image_process::work::ImageWork;
use crate::handlers::output_file::OutputFiles;
use crate::handlers::paths::begin_at;
use crate::model::job::{Job, JobOptions, NewJob};
use crate::runner::context::Context;
use crate::runner::handler::Failure;

pub use payload::{
    ImageFilter, ImageFit, ImageFlipAxis, ImageFormat, ImageGravity, ImageOperation, ImageOptimize,
    ImageOutput, ImageProcess, ImageResize,
};

/// What `[kinds.image_process.settings]` may say.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ImageProcessSettings {
    /// The folder that paths of payloads are read from and may not lead out of; none: they may lead anywhere.
    pub root: Option<PathBuf>,
    /// How many pixels a picture may have, as it is read or enlarged.
    pub max_pixels: u64,
    /// How large a source may be.
    pub max_input_bytes: u64,
    /// What sources may be downloaded, and how.
    #[serde(flatten)]
    pub http: HttpSettings,
}

impl Default for ImageProcessSettings {
    fn default() -> ImageProcessSettings {
        ImageProcessSettings {
            root: None,
            max_pixels: 100_000_000,
            max_input_bytes: 64 << 20,
            http: HttpSettings::default(),
        }
    }
}

/// The result of an [`ImageProcess`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImageProcessResult {
    /// What was read.
    pub source: ImageSource,
    /// What was written, in the order of the payload.
    pub outputs: Vec<ImageFile>,
    /// Where the time went.
    pub ms: ImageTimes,
}

/// A picture that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImageSource {
    /// In pixels, as it is to be seen.
    pub width: u32,
    /// In pixels, as it is to be seen.
    pub height: u32,
    /// By its content.
    pub format: ImageFormat,
    /// The size of the file.
    pub bytes: u64,
    /// It is animated; its first frame was read.
    pub is_animated: bool,
}

/// A picture that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImageFile {
    /// The path, without placeholders.
    pub path: String,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// What it is.
    pub format: ImageFormat,
    /// The size of the file.
    pub bytes: u64,
    /// Of the file, in hexadecimal.
    pub sha256: String,
}

/// How many milliseconds each part of the work took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImageTimes {
    /// Reading and decoding.
    pub decode: u64,
    /// The operations.
    pub resize: u64,
    /// Encoding and writing.
    pub encode: u64,
}

impl Job for ImageProcess {
    const KIND: &'static str = "image_process";
    type Output = ImageProcessResult;

    fn options(&self, job: NewJob) -> NewJob {
        job.with_options(ImageProcess::defaults())
    }
}

impl BuiltInJob for ImageProcess {
    type Settings = ImageProcessSettings;
    const HELP: &'static str = include_str!("help.txt");

    fn defaults() -> JobOptions {
        JobOptions {
            timeout: Some(Duration::from_secs(120)),
            max_retries: Some(2),
            retry_delay: Some(Duration::from_secs(10)),
            ..JobOptions::default()
        }
    }

    fn relative_to(mut settings: ImageProcessSettings, folder: &Path) -> ImageProcessSettings {
        let paths = [&mut settings.root, &mut settings.http.ca_file];
        begin_at(folder, paths.into_iter().flatten());
        settings
    }

    fn check(&self) -> Result<()> {
        self.validate()
    }

    fn run(
        self,
        settings: &ImageProcessSettings,
        ctx: &Context,
    ) -> std::result::Result<ImageProcessResult, Failure> {
        let files = OutputFiles::of(ctx)?;
        let download = |url: &str| download_source(url, settings, ctx);
        let downloaded = self.source_url.as_deref().map(download).transpose()?;
        let work = ImageWork {
            job: &self,
            settings,
            ctx,
            files,
            downloaded,
        };
        work.run().map_err(ImageError::failure)
    }
}

fn download_source(
    url: &str,
    settings: &ImageProcessSettings,
    ctx: &Context,
) -> std::result::Result<Vec<u8>, Failure> {
    let timeouts = HttpTimeouts {
        whole: Duration::from_secs(60),
        connect: Duration::from_secs(10),
    };
    let mut bytes = Vec::new();
    HttpSession::begin(&settings.http, ctx, timeouts).download(
        url,
        settings.max_input_bytes,
        &mut bytes,
    )?;
    Ok(bytes)
}
