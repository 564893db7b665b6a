//! One attempt: read, decode, change, write.

use std::borrow::Cow;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::clock;
use crate::handlers::image_process::decode::{DecodeOptions, DecodedImage, ImageMetadata, decode};
use crate::handlers::image_process::encode::{EncodeOptions, ImageSink, encode};
use crate::handlers::image_process::failure::{ImageError, ImageErrorClass};
use crate::handlers::image_process::geometry::PixelSize;
use crate::handlers::image_process::payload::{FileSettings, placeholders};
use crate::handlers::image_process::picture::{Picture, apply};
use crate::handlers::image_process::place::{ImageFileId, ImageRoot, OutputPlace};
use crate::handlers::image_process::{
    ImageFile, ImageFormat, ImageOperation, ImageOutput, ImageProcess, ImageProcessResult,
    ImageProcessSettings, ImageSource, ImageTimes,
};
use crate::handlers::input_file::QueueFiles;
use crate::handlers::output_file::{OutputFile, OutputFiles};
use crate::model::event::Level;
use crate::model::job::Progress;
use crate::runner::context::Context;

type Made<T> = Result<T, ImageError>;

/// What an attempt knows.
pub(super) struct ImageWork<'a> {
    pub(super) job: &'a ImageProcess,
    pub(super) settings: &'a ImageProcessSettings,
    pub(super) ctx: &'a Context,
    pub(super) files: OutputFiles,
    /// The source, unless it is a file.
    pub(super) downloaded: Option<Vec<u8>>,
}

/// The source, as far as the outputs need it.
struct SourceOfOutputs {
    /// None if it was downloaded.
    id: Option<ImageFileId>,
    format: ImageFormat,
    metadata: ImageMetadata,
}

/// An output that is written and has no name yet.
struct UnnamedOutput {
    file: OutputFile,
    place: OutputPlace,
    described: ImageFile,
}

/// Adds the time that something takes.
fn timed<T>(ms: &mut u64, work: impl FnOnce() -> T) -> T {
    let began = clock::instant();
    let made = work();
    let took = clock::instant().duration_since(began);
    *ms += u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    made
}

impl ImageWork<'_> {
    pub(super) fn run(&self) -> Made<ImageProcessResult> {
        let mut ms = ImageTimes::default();
        let root = ImageRoot::open(self.settings.root.as_deref())?;
        let (image, id, bytes) = timed(&mut ms.decode, || self.decode(&root))?;
        let source = ImageSource {
            width: image.picture.size().width,
            height: image.picture.size().height,
            format: image.format,
            bytes,
            is_animated: image.is_animated,
        };
        if image.is_animated {
            let message = "the source is animated; its first frame was read";
            self.ctx.log(Level::Warn, message);
        }
        let of = SourceOfOutputs {
            id,
            format: image.format,
            metadata: image.metadata,
        };
        let mut picture = Cow::Owned(image.picture);
        timed(&mut ms.resize, || {
            self.apply(&mut picture, &self.job.operations)
        })?;
        let results = self.job.results();
        let mut outputs = Vec::new();
        for output in &results {
            self.progress(outputs.len(), results.len());
            let mut picture = Cow::Borrowed(&*picture);
            timed(&mut ms.resize, || {
                self.apply(&mut picture, &output.operations)
            })?;
            let made = timed(&mut ms.encode, || {
                let (place, options) = self.prepare(output, picture.size(), &of, &root)?;
                self.check_place(&place, &of, &outputs)?;
                self.write(&picture, options, place)
            });
            outputs.push(made?);
        }
        let outputs = timed(&mut ms.encode, || finish(outputs, of.id))?;
        self.progress(outputs.len(), results.len());
        Ok(ImageProcessResult {
            source,
            outputs,
            ms,
        })
    }

    /// The decoded source is one step, each output another.
    fn progress(&self, written: usize, outputs: usize) {
        let progress = Progress::of(written as u64 + 1, outputs as u64 + 1);
        self.ctx.progress(progress);
    }

    fn decode(&self, root: &ImageRoot) -> Made<(DecodedImage, Option<ImageFileId>, u64)> {
        let max_bytes = self.settings.max_input_bytes;
        let cancellation = self.ctx.cancellation();
        let read = |path: &PathBuf| {
            let queue = QueueFiles::of(self.ctx);
            root.read(path, max_bytes, &queue, cancellation)
        };
        let file = self.job.source.as_ref().map(read).transpose()?;
        let bytes = match &file {
            Some(file) => &*file.bytes,
            None => self.downloaded.as_deref().unwrap_or_default(),
        };
        let options = DecodeOptions {
            max_pixels: self.settings.max_pixels,
            cancellation,
        };
        let image = decode(bytes, options)?;
        Ok((image, file.as_ref().map(|file| file.id), bytes.len() as u64))
    }

    fn apply(&self, picture: &mut Cow<'_, Picture>, operations: &[ImageOperation]) -> Made<()> {
        for operation in operations {
            apply(picture, operation, self.settings.max_pixels)?;
            self.check_cancelled()?;
        }
        Ok(())
    }

    fn check_cancelled(&self) -> Made<()> {
        match self.ctx.is_cancelled() {
            true => Err(ImageError::cancelled()),
            false => Ok(()),
        }
    }

    /// Where an output goes, and how it is encoded.
    fn prepare<'a>(
        &'a self,
        output: &ImageOutput,
        size: PixelSize,
        of: &'a SourceOfOutputs,
        root: &ImageRoot,
    ) -> Made<(OutputPlace, EncodeOptions<'a>)> {
        let operations = self.job.operations.iter().chain(&output.operations);
        let settings = FileSettings::of(operations);
        let format = settings.format_of(&output.path, of.format);
        let path = path_of(&output.path, &self.job.name(), size, format);
        let options = EncodeOptions {
            format,
            optimize: settings.optimize,
            metadata: &of.metadata,
            keep_metadata: self.job.keep_metadata,
            cancellation: self.ctx.cancellation(),
        };
        Ok((root.place(Path::new(&path))?, options))
    }

    /// An output must not replace the source or another output.
    fn check_place(
        &self,
        place: &OutputPlace,
        of: &SourceOfOutputs,
        others: &[UnnamedOutput],
    ) -> Made<()> {
        let why = if !self.job.overwrite && of.id.is_some() && place.existing() == of.id {
            "is the source; 'overwrite' allows to replace it"
        } else if others.iter().any(|other| other.place.is(place)) {
            "is the path of two outputs"
        } else {
            return Ok(());
        };
        let message = format!("'{}' {why}", place.path().display());
        Err(ImageError::new(ImageErrorClass::Output, message))
    }

    fn write(
        &self,
        picture: &Picture,
        options: EncodeOptions<'_>,
        place: OutputPlace,
    ) -> Made<UnnamedOutput> {
        let mut file = place.create(&self.files)?;
        let sink = ImageSink::new(file.file(), self.ctx.cancellation());
        let mut to = BufWriter::with_capacity(1 << 16, sink);
        let encoded = encode(picture, options, &mut to);
        let flushed = to.flush();
        self.check_cancelled()?;
        let (sink, _buffer) = to.into_parts();
        let finished = sink.finish().and_then(|written| flushed.map(|()| written));
        let (bytes, sha256) =
            finished.map_err(|error| ImageError::writing(place.path(), &error))?;
        encoded?;
        let PixelSize { width, height } = picture.size();
        let described = ImageFile {
            path: place.path().to_string_lossy().into_owned(),
            width,
            height,
            format: options.format,
            bytes,
            sha256,
        };
        Ok(UnnamedOutput {
            file,
            place,
            described,
        })
    }
}

/// Gives the outputs their names, when all are there. What replaces the source is last: if another fails, the next
/// attempt reads the source as it was.
fn finish(mut outputs: Vec<UnnamedOutput>, source: Option<ImageFileId>) -> Made<Vec<ImageFile>> {
    let described = outputs.iter().map(|output| output.described.clone());
    let described = described.collect();
    outputs.sort_by_key(|output| source.is_some() && output.place.existing() == source);
    for UnnamedOutput { file, place, .. } in outputs {
        let finished = file.finish();
        finished.map_err(|error| ImageError::writing(place.path(), &error))?;
    }
    Ok(described)
}

/// The path of an output, its placeholders filled in.
fn path_of(template: &str, source: &str, size: PixelSize, format: ImageFormat) -> String {
    let mut path = String::new();
    for (before, placeholder) in placeholders(template) {
        path.push_str(before);
        match placeholder {
            Some("name") => {
                path.push_str(source);
            }
            Some("width") => path.push_str(&size.width.to_string()),
            Some("height") => path.push_str(&size.height.to_string()),
            Some(_) => path.push_str(format.extension()),
            None => {}
        }
    }
    path
}
