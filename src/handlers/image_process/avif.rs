//! Writing AVIF.

use std::io::Write;
use std::time::Duration;

use moxcms::{ColorProfile, Layout, TransformOptions};
use ravif::{EncodedImage, Encoder, Img, RGB8, RGBA8};

use crate::handlers::image_process::encode::{EncodeOptions, unencodable};
use crate::handlers::image_process::failure::ImageError;
use crate::handlers::image_process::picture::Picture;

/// The quality where none is given: about as good as a JPEG of 85.
const QUALITY: u8 = 70;
/// From 1, the smallest files, to 10, the quickest. With 8 it takes twice as long for files of about the same size.
const SPEED: u8 = 10;

/// The encoder cannot be told to stop: it works on a thread of its own, which a cancelled attempt leaves behind.
pub(super) fn avif(
    picture: &Picture,
    options: EncodeOptions<'_>,
    to: &mut dyn Write,
) -> Result<(), ImageError> {
    let optimize = options.optimize.unwrap_or_default();
    if optimize.lossless {
        return Err(unencodable("AVIF is written with a loss"));
    }
    let mut encoder = Encoder::new()
        .with_quality(optimize.quality.unwrap_or(QUALITY).into())
        .with_speed(SPEED)
        .with_num_threads(Some(1));
    if let Some(exif) = options.exif() {
        encoder = encoder.with_exif(exif);
    }
    let pixels = in_srgb(picture, options)?;
    let size = picture.size();
    let (width, height) = (size.width as usize, size.height as usize);
    let has_alpha = picture.has_alpha;
    let encode = move || match has_alpha {
        true => {
            let pixels: Vec<RGBA8> = pixels
                .chunks_exact(4)
                .map(|pixel| RGBA8::new(pixel[0], pixel[1], pixel[2], pixel[3]))
                .collect();
            encoder.encode_rgba(Img::new(&*pixels, width, height))
        }
        false => {
            let pixels: Vec<RGB8> = pixels
                .chunks_exact(4)
                .map(|pixel| RGB8::new(pixel[0], pixel[1], pixel[2]))
                .collect();
            encoder.encode_rgb(Img::new(&*pixels, width, height))
        }
    };
    let encoded = options.cancellation.wait_for(Duration::MAX, encode);
    match encoded.map_err(unencodable)? {
        Some(Ok(EncodedImage { avif_file, .. })) => to.write_all(&avif_file).map_err(unencodable),
        Some(Err(error)) => Err(unencodable(error)),
        None => Err(ImageError::cancelled()),
    }
}

/// The encoder writes no profile.
fn in_srgb(picture: &Picture, options: EncodeOptions<'_>) -> Result<Vec<u8>, ImageError> {
    let pixels = picture.pixels.as_raw();
    let (Some(profile), _) = options.profile(picture) else {
        return Ok(pixels.clone());
    };
    let refused = |error| unencodable(format!("its colour profile cannot be converted: {error}"));
    let profile = ColorProfile::new_from_slice(profile).map_err(refused)?;
    let srgb = ColorProfile::new_srgb();
    let (from, to) = (Layout::Rgba, Layout::Rgba);
    let transform = profile.create_transform_8bit(from, &srgb, to, TransformOptions::default());
    let mut converted = vec![0; pixels.len()];
    transform
        .and_then(|transform| transform.transform(pixels, &mut converted))
        .map_err(refused)?;
    Ok(converted)
}

#[cfg(test)]
mod tests {
    use image::RgbaImage;

    use super::*;
    use crate::handlers::image_process::decode::ImageMetadata;
    use crate::handlers::image_process::payload::ImageFormat;
    use crate::runner::cancellation::Cancellation;

    #[test]
    fn colours_of_another_profile_become_those_of_srgb() {
        let pixels = RgbaImage::from_raw(2, 1, vec![50, 200, 50, 9, 80, 80, 80, 255]).unwrap();
        let picture = Picture {
            pixels,
            has_alpha: true,
            is_gray: false,
        };
        let metadata = ImageMetadata {
            profile: Some(ColorProfile::new_display_p3().encode().unwrap()),
            ..ImageMetadata::default()
        };
        let options = EncodeOptions {
            format: ImageFormat::Avif,
            optimize: None,
            metadata: &metadata,
            keep_metadata: false,
            cancellation: &Cancellation::default(),
        };
        let converted = in_srgb(&picture, options).unwrap();
        // The green of that profile is stronger than any of sRGB.
        assert!(converted[0] < 20 && converted[1] > 200, "{converted:?}");
        assert_eq!(converted[3..], [9, 80, 80, 80, 255]);
    }
}
