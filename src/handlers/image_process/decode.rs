//! Reading pictures. The format is what the content says, and the size is known before anything is decoded.

use std::any::Any;
use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{AnimationDecoder, DynamicImage, ImageDecoder, Limits, RgbImage, RgbaImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::handlers::image_process::failure::{ImageError, ImageErrorClass};
use crate::handlers::image_process::geometry::PixelSize;
use crate::handlers::image_process::payload::ImageFormat;
use crate::handlers::image_process::picture::Picture;
use crate::runner::cancellation::Cancellation;

/// A picture as it was read.
pub(super) struct DecodedImage {
    pub(super) picture: Picture,
    pub(super) metadata: ImageMetadata,
    pub(super) format: ImageFormat,
    /// It has more frames than the one that was read.
    pub(super) is_animated: bool,
}

/// What a file says of its picture.
#[derive(Clone, Default)]
pub(super) struct ImageMetadata {
    /// The colour profile.
    pub(super) profile: Option<Vec<u8>>,
    pub(super) exif: Option<Vec<u8>>,
}

/// How a picture is read.
#[derive(Clone, Copy)]
pub(super) struct DecodeOptions<'a> {
    pub(super) max_pixels: u64,
    pub(super) cancellation: &'a Cancellation,
}

/// Reads a picture, turned as it is to be seen.
pub(super) fn decode(bytes: &[u8], options: DecodeOptions<'_>) -> Result<DecodedImage, ImageError> {
    let format = format_of(bytes)?;
    let decoded = guarded(|| match format {
        ImageFormat::Jpeg => jpeg(bytes, options),
        ImageFormat::Png => png(bytes, options),
        ImageFormat::Webp => webp(bytes, options),
        ImageFormat::Gif => gif(bytes, options),
        ImageFormat::Avif => Err(ImageError::new(
            ImageErrorClass::Unsupported,
            "the source is an AVIF, which is written and not read",
        )),
    });
    if options.cancellation.is_cancelled() {
        return Err(ImageError::cancelled());
    }
    decoded
}

fn format_of(bytes: &[u8]) -> Result<ImageFormat, ImageError> {
    let found = match image::guess_format(bytes) {
        Ok(image::ImageFormat::Jpeg) => return Ok(ImageFormat::Jpeg),
        Ok(image::ImageFormat::Png) => return Ok(ImageFormat::Png),
        Ok(image::ImageFormat::WebP) => return Ok(ImageFormat::Webp),
        Ok(image::ImageFormat::Gif) => return Ok(ImageFormat::Gif),
        Ok(image::ImageFormat::Avif) => return Ok(ImageFormat::Avif),
        Ok(other) => format!(" but {}", other.to_mime_type()),
        Err(_) if bytes.is_empty() => " but empty".to_owned(),
        Err(_) => String::new(),
    };
    Err(ImageError::new(
        ImageErrorClass::Unsupported,
        format!("the source is neither JPEG, PNG, WebP nor GIF{found}"),
    ))
}

/// Decoders may panic where a file is made to harm; another try would, too.
pub(super) fn guarded<T>(decode: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|panic| {
        Err(undecodable(format!(
            "the decoder panicked: {}",
            text_of(&*panic)
        )))
    })
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

fn undecodable(why: impl std::fmt::Display) -> ImageError {
    ImageError::new(
        ImageErrorClass::Undecodable,
        format!("the source cannot be decoded: {why}"),
    )
}

fn image_error(error: image::ImageError) -> ImageError {
    let class = match &error {
        image::ImageError::Limits(_) => ImageErrorClass::TooLarge,
        image::ImageError::Unsupported(_) => ImageErrorClass::Unsupported,
        _ => return undecodable(error),
    };
    ImageError::new(class, format!("the source cannot be decoded: {error}"))
}

fn check_size(size: PixelSize, max_pixels: u64) -> Result<(), ImageError> {
    if size.pixels() > max_pixels {
        return Err(ImageError::new(
            ImageErrorClass::TooLarge,
            format!("the source has {size} pixels; max_pixels of the settings is {max_pixels}"),
        ));
    }
    Ok(())
}

/// A JPEG whose headers are read.
fn open_jpeg<'a>(
    bytes: &'a [u8],
    colors: ColorSpace,
    options: DecodeOptions<'a>,
) -> Result<JpegDecoder<CancellableReader<'a>>, ImageError> {
    let of_any_size = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(
        CancellableReader::new(bytes, options.cancellation),
        of_any_size.jpeg_set_out_colorspace(colors),
    );
    decoder.decode_headers().map_err(undecodable)?;
    Ok(decoder)
}

fn jpeg(bytes: &[u8], options: DecodeOptions<'_>) -> Result<DecodedImage, ImageError> {
    let mut decoder = open_jpeg(bytes, ColorSpace::RGB, options)?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let size = PixelSize {
        width: width as u32,
        height: height as u32,
    };
    check_size(size, options.max_pixels)?;
    if !ends(bytes) {
        return Err(undecodable("the file is cut off"));
    }
    let components = decoder.info().map(|info| info.components);
    let colors = match decoder.input_colorspace() {
        // The same mark of Adobe's stands for both; the decoder looks at their number later.
        Some(ColorSpace::CMYK) if components == Some(3) => Some(ColorSpace::RGB),
        colors => colors,
    };
    let image = match colors {
        // It is copied as it is, and cannot be widened.
        Some(ColorSpace::RGB) => {
            let raw = decoder.decode().map_err(undecodable)?;
            RgbImage::from_raw(size.width, size.height, raw).map(DynamicImage::from)
        }
        Some(ColorSpace::YCbCr | ColorSpace::Luma | ColorSpace::YCCK | ColorSpace::CMYK) => {
            // What it is converted to counts before the headers are read.
            decoder = open_jpeg(bytes, ColorSpace::RGBA, options)?;
            let raw = decoder.decode().map_err(undecodable)?;
            RgbaImage::from_raw(size.width, size.height, raw).map(DynamicImage::from)
        }
        other => {
            let why = format!("a JPEG with the colours {other:?} is not read");
            return Err(ImageError::new(ImageErrorClass::Unsupported, why));
        }
    };
    let exif = decoder.exif().cloned();
    let mut image = image.ok_or_else(|| undecodable("pixels are missing"))?;
    let orientation = exif.as_deref().and_then(Orientation::from_exif_chunk);
    image.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
    Ok(DecodedImage {
        picture: Picture {
            pixels: image.into_rgba8(),
            has_alpha: false,
            is_gray: colors == Some(ColorSpace::Luma),
        },
        metadata: ImageMetadata {
            profile: decoder.icc_profile(),
            exif,
        },
        format: ImageFormat::Jpeg,
        is_animated: false,
    })
}

/// Whether a JPEG has an end after its first scan. The decoder fills what is missing with gray.
fn ends(jpeg: &[u8]) -> bool {
    let mut at = 2;
    while let Some([0xff, marker, high, low]) = jpeg.get(at..at + 4) {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        match marker {
            // Fill bytes.
            0xff => at += 1,
            0xda => return jpeg[at..].windows(2).any(|pair| pair == [0xff, 0xd9]),
            _ => at += 2 + length,
        }
    }
    false
}

fn png(bytes: &[u8], options: DecodeOptions<'_>) -> Result<DecodedImage, ImageError> {
    let reader = CancellableReader::new(bytes, options.cancellation);
    let decoder = PngDecoder::new(reader).map_err(image_error)?;
    let is_animated = decoder.is_apng().map_err(image_error)?;
    read(decoder, ImageFormat::Png, options, is_animated)
}

fn webp(bytes: &[u8], options: DecodeOptions<'_>) -> Result<DecodedImage, ImageError> {
    let reader = CancellableReader::new(bytes, options.cancellation);
    let decoder = WebPDecoder::new(reader).map_err(image_error)?;
    let is_animated = decoder.has_animation();
    read(decoder, ImageFormat::Webp, options, is_animated)
}

fn gif(bytes: &[u8], options: DecodeOptions<'_>) -> Result<DecodedImage, ImageError> {
    let open = || {
        let reader = CancellableReader::new(bytes, options.cancellation);
        GifDecoder::new(reader).map_err(image_error)
    };
    let mut decoded = read(open()?, ImageFormat::Gif, options, false)?;
    decoded.is_animated = open()?.into_frames().nth(1).is_some();
    Ok(decoded)
}

fn read(
    mut decoder: impl ImageDecoder,
    format: ImageFormat,
    options: DecodeOptions<'_>,
    is_animated: bool,
) -> Result<DecodedImage, ImageError> {
    let (width, height) = decoder.dimensions();
    let size = PixelSize { width, height };
    check_size(size, options.max_pixels)?;
    let mut limits = Limits::no_limits();
    // Eight bytes a pixel are a picture of 16 bits a channel.
    limits.max_alloc = Some(8 * size.pixels() + (64 << 20));
    decoder.set_limits(limits).map_err(image_error)?;
    let colors = decoder.color_type();
    // Broken metadata is no reason to refuse the picture.
    let metadata = ImageMetadata {
        profile: decoder.icc_profile().ok().flatten(),
        exif: decoder.exif_metadata().ok().flatten(),
    };
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(image_error)?;
    image.apply_orientation(orientation);
    let pixels = image.into_rgba8();
    let has_alpha = colors.has_alpha() && pixels.pixels().any(|pixel| pixel[3] != u8::MAX);
    Ok(DecodedImage {
        picture: Picture {
            pixels,
            has_alpha,
            is_gray: !colors.has_color(),
        },
        metadata,
        format,
        is_animated,
    })
}

/// The bytes of a file; a read fails once the attempt is to stop.
struct CancellableReader<'a> {
    bytes: Cursor<&'a [u8]>,
    cancellation: &'a Cancellation,
}

impl<'a> CancellableReader<'a> {
    /// As much is given between two looks at the cancellation.
    const PIECE: usize = 16 << 10;

    fn new(bytes: &'a [u8], cancellation: &'a Cancellation) -> CancellableReader<'a> {
        CancellableReader {
            bytes: Cursor::new(bytes),
            cancellation,
        }
    }

    fn check(&self) -> io::Result<()> {
        match self.cancellation.is_cancelled() {
            true => Err(io::Error::other("cancelled")),
            false => Ok(()),
        }
    }
}

impl Read for CancellableReader<'_> {
    #[inline]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.bytes.read(into)
    }
}

impl BufRead for CancellableReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.check()?;
        let bytes = self.bytes.fill_buf()?;
        Ok(&bytes[..bytes.len().min(Self::PIECE)])
    }

    fn consume(&mut self, number: usize) {
        self.bytes.consume(number);
    }
}

impl Seek for CancellableReader<'_> {
    #[inline]
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(to)
    }
}
