//! Writing pictures.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};

use image::metadata::Orientation;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use png::Info;
use sha2::{Digest, Sha256};
use webpx::StopReason;

use crate::handlers::image_process::decode::ImageMetadata;
use crate::handlers::image_process::failure::{ImageError, ImageErrorClass};
use crate::handlers::image_process::payload::{ImageFormat, ImageOptimize};
use crate::handlers::image_process::picture::Picture;
use crate::model::hex::hex;
use crate::runner::cancellation::Cancellation;

/// The quality where none is given.
const QUALITY: u8 = 85;
/// What JPEG has in place of transparency.
const WHITE: [u8; 3] = [255; 3];

/// How a picture is written.
#[derive(Clone, Copy)]
pub(super) struct EncodeOptions<'a> {
    pub(super) format: ImageFormat,
    pub(super) optimize: Option<ImageOptimize>,
    pub(super) metadata: &'a ImageMetadata,
    pub(super) keep_metadata: bool,
    pub(super) cancellation: &'a Cancellation,
}

/// Where a picture is written to, with what is to be known of the file.
pub(super) struct ImageSink<'a> {
    file: &'a mut File,
    cancellation: &'a Cancellation,
    hash: Sha256,
    bytes: u64,
    error: Option<io::Error>,
}

impl<'a> ImageSink<'a> {
    pub(super) fn new(file: &'a mut File, cancellation: &'a Cancellation) -> ImageSink<'a> {
        ImageSink {
            file,
            cancellation,
            hash: Sha256::new(),
            bytes: 0,
            error: None,
        }
    }

    /// The file's size and its SHA-256, or why not all of it is written.
    pub(super) fn finish(self) -> io::Result<(u64, String)> {
        if let Some(error) = self.error {
            return Err(error);
        }
        Ok((self.bytes, hex(&self.hash.finalize())))
    }
}

impl Write for ImageSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancellation.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        match self.file.write(bytes) {
            Ok(written) => {
                self.hash.update(&bytes[..written]);
                self.bytes += written as u64;
                Ok(written)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                // Encoders wrap their errors in others; this one is to be known as it is.
                let kind = error.kind();
                self.error = Some(error);
                Err(kind.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a picture.
pub(super) fn encode(
    picture: &Picture,
    options: EncodeOptions<'_>,
    to: &mut dyn Write,
) -> Result<(), ImageError> {
    match options.format {
        ImageFormat::Jpeg => jpeg(picture, options, to),
        ImageFormat::Png => png(picture, options, to),
        ImageFormat::Webp => webp(picture, options, to),
        #[cfg(feature = "image-avif")]
        ImageFormat::Avif => crate::handlers::image_process::avif::avif(picture, options, to),
        #[cfg(not(feature = "image-avif"))]
        ImageFormat::Avif => Err(unencodable(
            "this build of jobq writes no AVIF: build it with the cargo feature image-avif",
        )),
        ImageFormat::Gif => Err(unencodable("GIF is read and not written")),
    }
}

pub(super) fn unencodable(why: impl std::fmt::Display) -> ImageError {
    ImageError::new(
        ImageErrorClass::Unsupported,
        format!("the result cannot be encoded: {why}"),
    )
}

impl EncodeOptions<'_> {
    /// The profile, and whether the file is to be gray: a profile is for colours or for gray.
    pub(super) fn profile(&self, picture: &Picture) -> (Option<&[u8]>, bool) {
        let profile = self.metadata.profile.as_deref();
        match profile.and_then(|profile| profile.get(16..20)) {
            Some(b"RGB ") => (profile, false),
            Some(b"GRAY") if picture.is_gray => (profile, true),
            // Also one for the CMYK that is no longer there.
            _ => (None, picture.is_gray),
        }
    }

    /// The EXIF data, without the orientation, which is applied.
    pub(super) fn exif(&self) -> Option<Vec<u8>> {
        let mut exif = self.metadata.exif.clone().filter(|_| self.keep_metadata)?;
        let _applied = Orientation::remove_from_exif_chunk(&mut exif);
        Some(exif)
    }
}

fn jpeg(
    picture: &Picture,
    options: EncodeOptions<'_>,
    to: &mut dyn Write,
) -> Result<(), ImageError> {
    let optimize = options.optimize.unwrap_or_default();
    if optimize.lossless {
        return Err(unencodable("JPEG always has a loss"));
    }
    if picture.has_alpha {
        return jpeg(&picture.flattened(WHITE), options, to);
    }
    let size = picture.size();
    let (Ok(width), Ok(height)) = (u16::try_from(size.width), u16::try_from(size.height)) else {
        return Err(unencodable(format!("{size} pixels are too many for JPEG")));
    };
    let quality = optimize.quality.unwrap_or(QUALITY);
    let mut encoder = Encoder::new(to, quality);
    // The eye sees less of colours than of brightness.
    encoder.set_sampling_factor(match quality {
        0..90 => SamplingFactor::F_2_2,
        _ => SamplingFactor::F_1_1,
    });
    encoder.set_progressive(optimize.progressive);
    encoder.set_optimized_huffman_tables(options.optimize.is_some());
    let (profile, is_gray) = options.profile(picture);
    if let Some(exif) = options.exif() {
        encoder.add_exif_metadata(&exif).map_err(unencodable)?;
    }
    if let Some(profile) = profile {
        encoder.add_icc_profile(profile).map_err(unencodable)?;
    }
    let encoded = if is_gray {
        let luma: Vec<u8> = picture.pixels.pixels().map(|pixel| pixel[0]).collect();
        encoder.encode(&luma, width, height, ColorType::Luma)
    } else {
        encoder.encode(&picture.pixels, width, height, ColorType::Rgba)
    };
    encoded.map_err(unencodable)
}

/// By rows: the encoder would compress the whole picture before it writes, and nothing could stop it.
fn png(
    picture: &Picture,
    options: EncodeOptions<'_>,
    to: &mut dyn Write,
) -> Result<(), ImageError> {
    let size = picture.size();
    let (profile, is_gray) = options.profile(picture);
    let mut info = Info::with_size(size.width, size.height);
    info.icc_profile = profile.map(Cow::Borrowed);
    info.exif_metadata = options.exif().map(Cow::Owned);
    let (colors, channels): (_, &[usize]) = match (is_gray, picture.has_alpha) {
        (true, true) => (png::ColorType::GrayscaleAlpha, &[0, 3]),
        (true, false) => (png::ColorType::Grayscale, &[0]),
        (false, true) => (png::ColorType::Rgba, &[0, 1, 2, 3]),
        (false, false) => (png::ColorType::Rgb, &[0, 1, 2]),
    };
    let mut encoder = png::Encoder::with_info(to, info).map_err(unencodable)?;
    encoder.set_color(colors);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(match options.optimize {
        Some(_) => png::Compression::High,
        None => png::Compression::Balanced,
    });
    let mut writer = encoder.write_header().map_err(unencodable)?;
    let mut stream = writer.stream_writer().map_err(unencodable)?;
    let mut line = Vec::new();
    for row in picture.pixels.rows() {
        line.clear();
        for pixel in row {
            line.extend(channels.iter().map(|channel| pixel[*channel]));
        }
        stream.write_all(&line).map_err(unencodable)?;
    }
    stream.finish().map_err(unencodable)?;
    writer.finish().map_err(unencodable)
}

/// The one place that knows libwebp.
fn webp(
    picture: &Picture,
    options: EncodeOptions<'_>,
    to: &mut dyn Write,
) -> Result<(), ImageError> {
    let optimize = options.optimize.unwrap_or_default();
    let size = picture.size();
    let quality = f32::from(optimize.quality.unwrap_or(QUALITY));
    let mut encoder = webpx::Encoder::new_rgba(&picture.pixels, size.width, size.height)
        .quality(quality)
        .lossless(optimize.lossless);
    if let (Some(profile), _) = options.profile(picture) {
        encoder = encoder.icc_profile(profile);
    }
    let mut encoded = encoder
        .encode(WebpStop(options.cancellation))
        .map_err(unencodable)?;
    if let Some(exif) = options.exif() {
        encoded = webpx::embed_exif(&encoded, &exif).map_err(unencodable)?;
    }
    to.write_all(&encoded).map_err(unencodable)
}

struct WebpStop<'a>(&'a Cancellation);

impl webpx::Stop for WebpStop<'_> {
    fn check(&self) -> Result<(), StopReason> {
        match self.0.is_cancelled() {
            true => Err(StopReason::Cancelled),
            false => Ok(()),
        }
    }
}
