//! What the payload of `image_process` says.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::handlers::http::HttpUrl;
use crate::{Error, Result};

/// The payload of kind `image_process`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageProcess {
    /// The picture to read: JPEG, PNG, WebP or GIF, whatever its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PathBuf>,
    /// In place of `source`, the URL that the picture is downloaded from.
    #[serde(default, alias = "sourceUrl", skip_serializing_if = "Option::is_none")]
    pub source_url: Option<String>,
    /// Where the result is written. `{name}`, `{width}`, `{height}` and `{ext}` stand for the source's name without
    /// its extension, the size of the result, and the usual extension of its format.
    #[serde(default, alias = "outputPath", skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// What is done to the picture, in this order.
    #[serde(default)]
    pub operations: Vec<ImageOperation>,
    /// Several results in place of one: each has operations of its own, after the common ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<ImageOutput>,
    /// Keep the EXIF data.
    #[serde(default, alias = "keepMetadata")]
    pub keep_metadata: bool,
    /// An output may replace the source.
    #[serde(default)]
    pub overwrite: bool,
}

/// One of several results of an [`ImageProcess`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageOutput {
    /// As [`ImageProcess::output`].
    pub path: String,
    /// What is done to the picture for this result alone.
    #[serde(default)]
    pub operations: Vec<ImageOperation>,
}

/// Something that is done to a picture, or a setting of the file that is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ImageOperation {
    /// Changes its size.
    Resize(ImageResize),
    /// Takes a part of it.
    Crop {
        /// Pixels left of the part.
        x: u32,
        /// Pixels above it.
        y: u32,
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// Turns it clockwise.
    Rotate {
        /// 90, 180 or 270.
        degrees: u32,
    },
    /// Mirrors it.
    Flip {
        /// At which axis.
        axis: ImageFlipAxis,
    },
    /// Takes its colours away.
    Grayscale {},
    /// Blurs it, much like a Gaussian does.
    Blur {
        /// 0.3 to 250.
        sigma: f32,
    },
    /// Puts a colour behind what is transparent.
    Background {
        /// `#rgb` or `#rrggbb`.
        color: String,
    },
    /// Says how the file is encoded.
    Optimize(ImageOptimize),
    /// Says what is written, in place of the extension of the output.
    Format {
        /// Any but GIF.
        format: ImageFormat,
    },
}

/// The operation `resize`: width, height, or both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageResize {
    /// The width to have; by the other side if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// The height to have; by the other side if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// How the picture goes with both.
    #[serde(default)]
    pub fit: ImageFit,
    /// Also make it larger than it is.
    #[serde(default)]
    pub enlarge: bool,
    /// Which part stays with the fit `cover`.
    #[serde(default)]
    pub gravity: ImageGravity,
    /// How pixels are computed.
    #[serde(default)]
    pub filter: ImageFilter,
}

/// How a picture goes with a width and a height.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ImageFit {
    /// As large as it may be without exceeding either.
    #[default]
    Inside,
    /// Exactly so large; what juts out is cut off.
    Cover,
    /// Exactly so large; distorted.
    Fill,
    /// As small as it may be without falling below either.
    Outside,
}

/// Which part of a picture stays where it is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names say it")]
pub enum ImageGravity {
    #[default]
    Center,
    Top,
    Bottom,
    Left,
    Right,
    TopLeft,
    TopRight,
    BottomLeft,
    BottomRight,
}

/// How the pixels of another size are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names are those of the filters")]
pub enum ImageFilter {
    #[default]
    Lanczos3,
    Mitchell,
    CatmullRom,
    Bilinear,
    Nearest,
}

/// At which axis a picture is mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ImageFlipAxis {
    /// Top and bottom change places.
    X,
    /// Left and right change places.
    Y,
}

/// The operation `optimize`: a smaller file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageOptimize {
    /// 1 to 100, for JPEG and for WebP with loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
    /// A JPEG that shows coarsely at first.
    #[serde(default)]
    pub progressive: bool,
    /// A WebP without loss.
    #[serde(default)]
    pub lossless: bool,
}

/// The format of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names are those of the formats")]
pub enum ImageFormat {
    #[serde(alias = "jpg")]
    Jpeg,
    Png,
    Webp,
    /// Is written and not read, if jobq was built with the cargo feature `image-avif`.
    Avif,
    /// Is read and not written.
    Gif,
}

impl ImageFormat {
    /// The extension that is usual.
    pub(super) fn extension(self) -> &'static str {
        match self {
            ImageFormat::Jpeg => "jpg",
            ImageFormat::Png => "png",
            ImageFormat::Webp => "webp",
            ImageFormat::Avif => "avif",
            ImageFormat::Gif => "gif",
        }
    }

    /// Of an output whose extension says it.
    fn of_path(path: &str) -> Option<ImageFormat> {
        let extension = Path::new(path).extension()?.to_str()?;
        match extension.to_ascii_lowercase().as_str() {
            "jpg" | "jpeg" | "jpe" | "jfif" => Some(ImageFormat::Jpeg),
            "png" => Some(ImageFormat::Png),
            "avif" => Some(ImageFormat::Avif),
            "webp" => Some(ImageFormat::Webp),
            "gif" => Some(ImageFormat::Gif),
            _ => None,
        }
    }
}

impl ImageProcess {
    /// The results that are asked for. A single one has no operations of its own.
    pub(super) fn results(&self) -> Vec<ImageOutput> {
        match &self.output {
            None => self.outputs.clone(),
            Some(path) => vec![ImageOutput {
                path: path.clone(),
                operations: Vec::new(),
            }],
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        let refused = |why: &str| Err(Error::invalid(why));
        match (&self.source, &self.source_url) {
            (None, None) => return refused("'source' is missing"),
            (Some(_), Some(_)) => return refused("'source' and 'source_url' exclude each other"),
            (None, Some(url)) => HttpUrl::parse(url).map(drop)?,
            (Some(_), None) => {}
        }
        match (&self.output, self.outputs.len()) {
            (None, 0) => return refused("'output' is missing"),
            (Some(_), 1..) => return refused("'output' and 'outputs' exclude each other"),
            (None, 101..) => return refused("'outputs' has more than 100 entries"),
            _ => {}
        }
        self.operations.iter().try_for_each(ImageOperation::check)?;
        for output in self.results() {
            output
                .operations
                .iter()
                .try_for_each(ImageOperation::check)?;
            let operations = self.operations.iter().chain(&output.operations);
            check_path(&output.path, FileSettings::of(operations).format)?;
        }
        Ok(())
    }

    /// What `{name}` stands for.
    pub(super) fn name(&self) -> String {
        let of_url = |url: &str| {
            let (_, place) = url.split_once("://")?;
            let place = &place[..place.find(['?', '#']).unwrap_or(place.len())];
            let (_, path) = place.split_once('/')?;
            Some(PathBuf::from(path.rsplit('/').next()?))
        };
        let url = self.source_url.as_deref();
        let path = self.source.clone().or_else(|| url.and_then(of_url));
        let name = path.as_deref().and_then(Path::file_stem);
        name.map_or_else(
            || "picture".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        )
    }
}

/// The parts of an output's path between its placeholders, and those by name.
pub(super) fn placeholders(path: &str) -> Vec<(&str, Option<&str>)> {
    let mut parts = Vec::new();
    let mut rest = path;
    while let Some((before, (name, after))) = rest
        .split_once('{')
        .and_then(|(before, after)| Some((before, after.split_once('}')?)))
    {
        parts.push((before, Some(name)));
        rest = after;
    }
    parts.push((rest, None));
    parts
}

fn check_path(path: &str, format: Option<ImageFormat>) -> Result<()> {
    let refused = |why: String| Err(Error::invalid(format!("the output '{path}' {why}")));
    if path.is_empty() || path.ends_with('/') || path.contains('\0') {
        return refused("is not the path of a file".to_owned());
    }
    for (_, name) in placeholders(path) {
        if let Some(name) = name.filter(|name| !["name", "width", "height", "ext"].contains(name)) {
            return refused(format!(
                "has {{{name}}} in it; there are {{name}}, {{width}}, {{height}} and {{ext}}"
            ));
        }
    }
    let file = Path::new(path).file_name().unwrap_or_default();
    let says_nothing = !path.ends_with("{ext}") && ImageFormat::of_path(path).is_none();
    match format.or_else(|| ImageFormat::of_path(path)) {
        Some(ImageFormat::Avif) if !cfg!(feature = "image-avif") => refused(
            "would be an AVIF, which this build of jobq does not write: build it with the cargo feature image-avif"
                .to_owned(),
        ),
        Some(ImageFormat::Gif) => {
            refused("would be a GIF, which is read and not written".to_owned())
        }
        None if says_nothing && file.to_string_lossy().contains('.') => refused(
            "has an extension that is none of a format; name the format in an operation".to_owned(),
        ),
        _ => Ok(()),
    }
}

/// How a file is to be encoded: the last operation of a sort counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FileSettings {
    pub(super) format: Option<ImageFormat>,
    pub(super) optimize: Option<ImageOptimize>,
}

impl FileSettings {
    pub(super) fn of<'a>(operations: impl Iterator<Item = &'a ImageOperation>) -> FileSettings {
        let mut settings = FileSettings::default();
        for operation in operations {
            match operation {
                ImageOperation::Format { format } => settings.format = Some(*format),
                ImageOperation::Optimize(optimize) => settings.optimize = Some(*optimize),
                _ => {}
            }
        }
        settings
    }

    /// The format of an output: as it is named, as its extension says, or as the source's.
    pub(super) fn format_of(&self, path: &str, source: ImageFormat) -> ImageFormat {
        let format = self.format.or_else(|| ImageFormat::of_path(path));
        match format.unwrap_or(source) {
            // Its colours are few, and it may be transparent.
            ImageFormat::Gif => ImageFormat::Png,
            format => format,
        }
    }
}

impl ImageOperation {
    fn check(&self) -> Result<()> {
        let refused = |why: &str| Err(Error::invalid(why));
        match self {
            ImageOperation::Resize(resize) => match (resize.width, resize.height) {
                (None, None) => refused("resize: 'width' and 'height' are missing"),
                (Some(0), _) | (_, Some(0)) => refused("resize: a side must be at least 1"),
                _ => Ok(()),
            },
            ImageOperation::Crop { width: 0, .. } | ImageOperation::Crop { height: 0, .. } => {
                refused("crop: a side must be at least 1")
            }
            ImageOperation::Rotate { degrees } if ![90, 180, 270].contains(degrees) => {
                refused("rotate: 'degrees' must be 90, 180 or 270")
            }
            ImageOperation::Blur { sigma } if !(0.3..=250.0).contains(sigma) => {
                refused("blur: 'sigma' must be from 0.3 to 250")
            }
            ImageOperation::Background { color } => parse_color(color).map(drop),
            ImageOperation::Optimize(ImageOptimize {
                quality: Some(0 | 101..),
                ..
            }) => refused("optimize: 'quality' must be from 1 to 100"),
            _ => Ok(()),
        }
    }
}

/// A colour as `#rgb` or `#rrggbb`.
pub(super) fn parse_color(text: &str) -> Result<[u8; 3]> {
    let digits = text.strip_prefix('#').filter(|digits| digits.is_ascii());
    let parsed = digits.and_then(|digits| match digits.len() {
        3 => {
            let digit = |at: usize| u8::from_str_radix(&digits[at..=at], 16).ok();
            Some([digit(0)? * 17, digit(1)? * 17, digit(2)? * 17])
        }
        6 => {
            let pair = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
            Some([pair(0)?, pair(2)?, pair(4)?])
        }
        _ => None,
    });
    parsed
        .ok_or_else(|| Error::invalid(format!("'{text}' is not a colour such as #fff or #336699")))
}
