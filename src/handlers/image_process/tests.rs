//! Pictures in and out, without a job.

use std::borrow::Cow;

use image::codecs::gif::GifEncoder;
use image::codecs::png::PngEncoder;
use image::{Frame, ImageEncoder, Rgba, RgbaImage};
use proptest::prelude::*;

use crate::handlers::image_process::decode::{
    DecodeOptions, DecodedImage, ImageMetadata, decode, guarded,
};
use crate::handlers::image_process::encode::{EncodeOptions, encode};
use crate::handlers::image_process::failure::{ImageError, ImageErrorClass};
use crate::handlers::image_process::payload::{
    FileSettings, ImageFormat, ImageOperation, ImageOptimize,
};
use crate::handlers::image_process::picture::{Picture, apply};
use crate::runner::cancellation::Cancellation;

const RED: Rgba<u8> = Rgba([255, 0, 0, 255]);
const GREEN: Rgba<u8> = Rgba([0, 255, 0, 255]);
const BLUE: Rgba<u8> = Rgba([0, 0, 255, 255]);
const WHITE: Rgba<u8> = Rgba([255, 255, 255, 255]);
const CLEAR: Rgba<u8> = Rgba([0, 0, 0, 0]);

fn read(bytes: &[u8]) -> Result<DecodedImage, ImageError> {
    decode(
        bytes,
        DecodeOptions {
            max_pixels: 1_000_000,
            cancellation: &Cancellation::default(),
        },
    )
}

/// Red and green above blue and white, 64x32.
fn corners() -> RgbaImage {
    RgbaImage::from_fn(64, 32, |x, y| match (x < 32, y < 16) {
        (true, true) => RED,
        (false, true) => GREEN,
        (true, false) => BLUE,
        (false, false) => WHITE,
    })
}

fn picture(pixels: RgbaImage) -> Picture {
    Picture {
        has_alpha: pixels.pixels().any(|pixel| pixel[3] != 255),
        is_gray: false,
        pixels,
    }
}

/// Encodes as a job does.
struct Encoding {
    format: ImageFormat,
    optimize: Option<ImageOptimize>,
    metadata: ImageMetadata,
    keep_metadata: bool,
}

impl Encoding {
    fn of(format: ImageFormat) -> Encoding {
        Encoding {
            format,
            optimize: None,
            metadata: ImageMetadata::default(),
            keep_metadata: false,
        }
    }

    fn write(&self, picture: &Picture) -> Vec<u8> {
        self.try_write(picture).unwrap()
    }

    fn try_write(&self, picture: &Picture) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        let options = EncodeOptions {
            format: self.format,
            optimize: self.optimize,
            metadata: &self.metadata,
            keep_metadata: self.keep_metadata,
            cancellation: &Cancellation::default(),
        };
        encode(picture, options, &mut bytes).map(|()| bytes)
    }
}

/// EXIF data with an orientation and a maker whose name is easily found.
fn exif(orientation: u8) -> Vec<u8> {
    let mut exif = b"II*\0\x08\0\0\0\x02\0".to_vec();
    exif.extend(b"\x0f\x01\x02\0\x0a\0\0\0\x26\0\0\0");
    exif.extend([0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0]);
    exif.extend(b"\0\0\0\0CAMERAMAN\0");
    exif
}

fn has(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|part| part == text)
}

/// Whether two colours are about the same, after a loss.
fn is_near(one: Rgba<u8>, other: Rgba<u8>) -> bool {
    let pairs = one.0.into_iter().zip(other.0);
    pairs
        .into_iter()
        .all(|(one, other)| one.abs_diff(other) < 30)
}

const WRITTEN: [ImageFormat; 3] = [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Webp];

#[test]
fn every_orientation_is_applied_before_anything_else() {
    // The colours of the corners, as they are to be seen: the rows from the top, from left to right.
    for (orientation, is_turned, seen) in [
        (1, false, [RED, GREEN, BLUE, WHITE]),
        (2, false, [GREEN, RED, WHITE, BLUE]),
        (3, false, [WHITE, BLUE, GREEN, RED]),
        (4, false, [BLUE, WHITE, RED, GREEN]),
        (5, true, [RED, BLUE, GREEN, WHITE]),
        (6, true, [BLUE, RED, WHITE, GREEN]),
        (7, true, [WHITE, GREEN, BLUE, RED]),
        (8, true, [GREEN, WHITE, RED, BLUE]),
    ] {
        let pixels = corners();
        let mut jpeg = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut jpeg, 95);
        encoder.add_exif_metadata(&exif(orientation)).unwrap();
        let colors = jpeg_encoder::ColorType::Rgba;
        encoder.encode(&pixels, 64, 32, colors).unwrap();
        let mut png = Vec::new();
        let mut encoder = PngEncoder::new(&mut png);
        encoder.set_exif_metadata(exif(orientation)).unwrap();
        let colors = image::ExtendedColorType::Rgba8;
        encoder.write_image(&pixels, 64, 32, colors).unwrap();
        for bytes in [jpeg, png] {
            let decoded = read(&bytes).unwrap();
            let pixels = decoded.picture.pixels;
            let (right, bottom) = if is_turned { (28, 60) } else { (60, 28) };
            assert_eq!(pixels.dimensions(), (right + 4, bottom + 4));
            let found = [(3, 3), (right, 3), (3, bottom), (right, bottom)]
                .map(|(x, y)| *pixels.get_pixel(x, y));
            let same = found
                .iter()
                .zip(seen)
                .all(|(one, other)| is_near(*one, other));
            assert!(same, "{orientation} {:?}: {found:?}", decoded.format);
        }
    }
}

#[test]
fn metadata_is_left_out_unless_it_is_to_be_kept() {
    for format in WRITTEN {
        let mut encoding = Encoding::of(format);
        encoding.metadata.exif = Some(exif(6));
        let stripped = encoding.write(&picture(corners()));
        assert!(!has(&stripped, b"CAMERAMAN"), "{format:?}");
        encoding.keep_metadata = true;
        let kept = encoding.write(&picture(corners()));
        assert!(has(&kept, b"CAMERAMAN"), "{format:?}");
        // It was turned already, and is not to be turned again.
        let again = read(&kept).unwrap();
        assert_eq!(again.picture.pixels.dimensions(), (64, 32), "{format:?}");
        assert!(again.metadata.exif.is_some(), "{format:?}");
    }
}

/// As much of a colour profile as says what it is for.
fn profile(colors: &[u8; 4]) -> Vec<u8> {
    let mut profile = vec![0; 200];
    profile[16..20].copy_from_slice(colors);
    profile
}

#[test]
fn a_colour_profile_is_kept_where_it_fits() {
    for format in WRITTEN {
        for (colors, is_gray, is_kept) in [
            (b"RGB ", false, true),
            (b"RGB ", true, true),
            (b"GRAY", false, false),
            (b"CMYK", false, false),
        ] {
            let mut encoding = Encoding::of(format);
            encoding.metadata.profile = Some(profile(colors));
            let mut picture = picture(RgbaImage::from_pixel(20, 20, WHITE));
            picture.is_gray = is_gray;
            let again = read(&encoding.write(&picture)).unwrap();
            let expected = is_kept.then(|| profile(colors));
            assert_eq!(again.metadata.profile, expected, "{format:?} {colors:?}");
            let may_be_gray = is_gray && !is_kept;
            assert_eq!(again.picture.is_gray, may_be_gray, "{format:?} {colors:?}");
        }
    }
    let mut encoding = Encoding::of(ImageFormat::Jpeg);
    encoding.metadata.profile = Some(profile(b"GRAY"));
    let mut picture = picture(RgbaImage::from_pixel(20, 20, WHITE));
    picture.is_gray = true;
    let again = read(&encoding.write(&picture)).unwrap();
    assert!(again.picture.is_gray && again.metadata.profile.is_some());
}

#[test]
fn a_jpeg_has_a_colour_in_place_of_transparency() {
    let clear = picture(RgbaImage::from_pixel(16, 16, CLEAR));
    let white = read(&Encoding::of(ImageFormat::Jpeg).write(&clear)).unwrap();
    assert!(is_near(*white.picture.pixels.get_pixel(8, 8), WHITE));
    let mut green = Cow::Owned(clear);
    let background = ImageOperation::Background {
        color: "#0f0".to_owned(),
    };
    apply(&mut green, &background, 1000).unwrap();
    let green = read(&Encoding::of(ImageFormat::Jpeg).write(&green)).unwrap();
    assert!(is_near(*green.picture.pixels.get_pixel(8, 8), GREEN));
}

#[test]
fn a_jpeg_that_is_stored_as_rgb_keeps_its_colours() {
    let mut jpeg =
        Encoding::of(ImageFormat::Jpeg).write(&picture(RgbaImage::from_pixel(16, 16, WHITE)));
    // An Adobe segment that says that nothing was transformed: white is (255, 128, 128) then.
    let adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0";
    jpeg.splice(2..2, adobe.iter().copied());
    let pixels = read(&jpeg).unwrap().picture.pixels;
    assert!(is_near(*pixels.get_pixel(8, 8), Rgba([255, 128, 128, 255])));
}

#[test]
fn transparency_survives_in_png_and_webp() {
    let half = RgbaImage::from_fn(16, 16, |x, _| if x < 8 { CLEAR } else { RED });
    for format in [ImageFormat::Png, ImageFormat::Webp] {
        let again = read(&Encoding::of(format).write(&picture(half.clone()))).unwrap();
        assert!(again.picture.has_alpha);
        assert_eq!(again.picture.pixels.get_pixel(2, 8)[3], 0, "{format:?}");
        assert_eq!(again.picture.pixels.get_pixel(14, 8)[3], 255, "{format:?}");
    }
}

/// Operations on the picture of [`corners`].
fn after(operations: &str) -> Result<Picture, ImageError> {
    let operations: Vec<ImageOperation> = serde_json::from_str(operations).unwrap();
    let mut picture = Cow::Owned(picture(corners()));
    for operation in &operations {
        apply(&mut picture, operation, 1_000_000)?;
    }
    Ok(picture.into_owned())
}

#[test]
fn operations_do_what_they_are_called() {
    for (operations, size, corner) in [
        (r#"[{"type":"rotate","degrees":90}]"#, (32, 64), BLUE),
        (r#"[{"type":"rotate","degrees":180}]"#, (64, 32), WHITE),
        (r#"[{"type":"rotate","degrees":270}]"#, (32, 64), GREEN),
        (r#"[{"type":"flip","axis":"x"}]"#, (64, 32), BLUE),
        (r#"[{"type":"flip","axis":"y"}]"#, (64, 32), GREEN),
        (
            r#"[{"type":"crop","x":40,"y":20,"width":24,"height":12}]"#,
            (24, 12),
            WHITE,
        ),
        (r#"[{"type":"resize","width":32}]"#, (32, 16), RED),
        (
            r#"[{"type":"resize","width":640,"enlarge":true,"filter":"nearest"}]"#,
            (640, 320),
            RED,
        ),
        (
            r#"[{"type":"resize","width":16,"height":16,"fit":"cover","gravity":"right"}]"#,
            (16, 16),
            GREEN,
        ),
        (r#"[{"type":"blur","sigma":1.5}]"#, (64, 32), RED),
        (
            r#"[{"type":"grayscale"}]"#,
            (64, 32),
            Rgba([54, 54, 54, 255]),
        ),
        (
            r##"[{"type":"background","color":"#123456"}]"##,
            (64, 32),
            RED,
        ),
        (
            r#"[{"type":"rotate","degrees":90},{"type":"crop","x":0,"y":0,"width":4,"height":4}]"#,
            (4, 4),
            BLUE,
        ),
    ] {
        let picture = after(operations).unwrap();
        assert_eq!(picture.pixels.dimensions(), size, "{operations}");
        assert_eq!(*picture.pixels.get_pixel(1, 1), corner, "{operations}");
    }
    // A line between two colours is no longer sharp.
    let blurred = after(r#"[{"type":"blur","sigma":3}]"#).unwrap();
    let pixel = blurred.pixels.get_pixel(32, 5);
    assert!(pixel[0] > 60 && pixel[1] > 60, "{pixel:?}");
}

#[test]
fn a_blur_takes_no_colour_from_what_is_transparent() {
    let half = RgbaImage::from_fn(32, 32, |x, _| if x < 16 { CLEAR } else { WHITE });
    let mut picture = Cow::Owned(picture(half));
    apply(&mut picture, &ImageOperation::Blur { sigma: 3.0 }, 10_000).unwrap();
    let pixel = picture.pixels.get_pixel(17, 16);
    assert!(pixel[3] < 255 && pixel[0] > 250, "{pixel:?}");
}

#[test]
fn what_does_not_fit_the_picture_is_refused() {
    for (operations, class) in [
        (
            r#"[{"type":"crop","x":60,"y":0,"width":5,"height":5}]"#,
            ImageErrorClass::Geometry,
        ),
        (
            r#"[{"type":"crop","x":0,"y":4294967295,"width":1,"height":1}]"#,
            ImageErrorClass::Geometry,
        ),
        (
            r#"[{"type":"resize","width":4000,"enlarge":true}]"#,
            ImageErrorClass::TooLarge,
        ),
        (
            r#"[{"type":"resize","width":4294967295,"height":4294967295,"fit":"fill","enlarge":true}]"#,
            ImageErrorClass::TooLarge,
        ),
    ] {
        assert_eq!(
            after(operations).err().unwrap().class,
            class,
            "{operations}"
        );
    }
    let lossless = ImageOptimize {
        lossless: true,
        ..ImageOptimize::default()
    };
    let mut encoding = Encoding::of(ImageFormat::Jpeg);
    encoding.optimize = Some(lossless);
    let refused = encoding.try_write(&picture(corners())).unwrap_err();
    assert_eq!(refused.class, ImageErrorClass::Unsupported);
    encoding.format = ImageFormat::Webp;
    let again = read(&encoding.write(&picture(corners()))).unwrap();
    assert_eq!(again.picture.pixels, corners());
    let wide = picture(RgbaImage::new(16_384, 1));
    let refused = Encoding::of(ImageFormat::Webp).try_write(&wide);
    assert_eq!(refused.unwrap_err().class, ImageErrorClass::Unsupported);
}

#[test]
fn the_first_frame_of_an_animation_is_read() {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    encoder.encode_frame(Frame::new(corners())).unwrap();
    let decoded = |bytes: &[u8]| read(bytes).unwrap();
    drop(encoder);
    assert!(!decoded(&bytes).is_animated);
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    let second = RgbaImage::from_pixel(64, 32, WHITE);
    let frames = [corners(), second].map(Frame::new);
    encoder.encode_frames(frames).unwrap();
    drop(encoder);
    let decoded = decoded(&bytes);
    assert!(decoded.is_animated && decoded.format == ImageFormat::Gif);
    assert_eq!(*decoded.picture.pixels.get_pixel(1, 1), RED);
    assert_eq!(
        FileSettings::default().format_of("a", ImageFormat::Gif),
        ImageFormat::Png
    );
}

#[test]
fn a_file_that_is_cut_off_is_refused_wherever_it_is_cut() {
    let mut gif = Vec::new();
    GifEncoder::new(&mut gif)
        .encode_frame(Frame::new(corners()))
        .unwrap();
    let mut progressive = Encoding::of(ImageFormat::Jpeg);
    progressive.optimize = Some(ImageOptimize {
        progressive: true,
        ..ImageOptimize::default()
    });
    let mut files = WRITTEN
        .map(|format| Encoding::of(format).write(&picture(corners())))
        .to_vec();
    files.extend([gif, progressive.write(&picture(corners()))]);
    for file in files {
        // The last bytes are an end mark or a checksum.
        for length in 0..file.len() - 12 {
            let refused = read(&file[..length]).err().unwrap();
            let class = refused.class;
            let is_expected =
                class == ImageErrorClass::Undecodable || class == ImageErrorClass::Unsupported;
            assert!(is_expected, "{length} of {}: {refused}", file.len());
        }
    }
}

#[test]
fn a_size_is_refused_before_anything_is_decoded() {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    png.extend(19_000u32.to_be_bytes());
    png.extend(19_000u32.to_be_bytes());
    png.extend(b"\x08\x06\0\0\0");
    png.extend(0x7c1a_5042u32.to_be_bytes());
    png.extend(b"\0\0\xff\xffIDAT");
    let mut jpeg = Encoding::of(ImageFormat::Jpeg).write(&picture(corners()));
    let frame = jpeg.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    let mut gif = Vec::new();
    GifEncoder::new(&mut gif)
        .encode_frame(Frame::new(corners()))
        .unwrap();
    gif[6..10].fill(0xff);
    for bytes in [png, jpeg, gif] {
        let refused = read(&bytes).err().unwrap();
        assert_eq!(refused.class, ImageErrorClass::TooLarge, "{refused}");
    }
}

#[test]
fn a_panic_of_a_decoder_is_an_error_that_says_so() {
    let refused = guarded::<()>(|| panic!("index {} out of bounds", 7)).unwrap_err();
    assert_eq!(refused.class, ImageErrorClass::Undecodable);
    assert!(
        refused
            .to_string()
            .ends_with("the decoder panicked: index 7 out of bounds")
    );
    assert!(refused.failure().is_permanent());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_damaged_file_gives_a_picture_or_a_final_error(
        format in prop::sample::select(WRITTEN.to_vec()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let mut bytes = Encoding::of(format).write(&picture(corners()));
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        match read(&bytes) {
            Ok(decoded) => prop_assert!(decoded.picture.size().pixels() <= 1_000_000),
            Err(error) => prop_assert!(error.failure().is_permanent()),
        }
    }
}
