//! A decoded picture, and what is done to it.

use std::borrow::Cow;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, MulDiv, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{RgbaImage, imageops};

use crate::handlers::image_process::failure::{ImageError, ImageErrorClass};
use crate::handlers::image_process::geometry::{PixelSize, scaling};
use crate::handlers::image_process::payload::{
    ImageFilter, ImageFlipAxis, ImageOperation, ImageResize, parse_color,
};

/// Eight bits a channel, red, green, blue and alpha.
#[derive(Clone)]
pub(super) struct Picture {
    pub(super) pixels: RgbaImage,
    /// Some of it is transparent.
    pub(super) has_alpha: bool,
    /// Its red, green and blue are the same everywhere.
    pub(super) is_gray: bool,
}

impl Picture {
    pub(super) fn size(&self) -> PixelSize {
        let (width, height) = self.pixels.dimensions();
        PixelSize { width, height }
    }

    fn with(&self, pixels: RgbaImage) -> Picture {
        Picture {
            pixels,
            has_alpha: self.has_alpha,
            is_gray: self.is_gray,
        }
    }

    /// The picture on a background.
    pub(super) fn flattened(&self, color: [u8; 3]) -> Picture {
        let mut picture = self.clone();
        picture.flatten(color);
        picture
    }

    fn flatten(&mut self, color: [u8; 3]) {
        if !self.has_alpha {
            return;
        }
        for pixel in self.pixels.pixels_mut() {
            let alpha = u32::from(pixel[3]);
            for (channel, behind) in pixel.0.iter_mut().zip(color) {
                let sum = u32::from(*channel) * alpha + u32::from(behind) * (255 - alpha);
                *channel = ((sum + 127) / 255) as u8;
            }
            pixel[3] = u8::MAX;
        }
        self.has_alpha = false;
        self.is_gray &= color[0] == color[1] && color[1] == color[2];
    }

    fn resize(&self, resize: &ImageResize, max_pixels: u64) -> Result<Picture, ImageError> {
        let from = self.size();
        let scaling = scaling(from, resize);
        let (part, size) = (scaling.part, scaling.size);
        if size.pixels() > max_pixels {
            return Err(ImageError::new(
                ImageErrorClass::TooLarge,
                format!(
                    "resize: the result would have {size} pixels; max_pixels of the settings is {max_pixels}"
                ),
            ));
        }
        let convolution = ResizeAlg::Convolution;
        let options = ResizeOptions::new()
            .resize_alg(match resize.filter {
                ImageFilter::Lanczos3 => convolution(FilterType::Lanczos3),
                ImageFilter::Mitchell => convolution(FilterType::Mitchell),
                ImageFilter::CatmullRom => convolution(FilterType::CatmullRom),
                ImageFilter::Bilinear => convolution(FilterType::Bilinear),
                ImageFilter::Nearest => ResizeAlg::Nearest,
            })
            .crop(part.left, part.top, part.width, part.height)
            .use_alpha(self.has_alpha);
        let source = ImageRef::new(
            from.width,
            from.height,
            self.pixels.as_raw(),
            PixelType::U8x4,
        );
        let mut target = Image::new(size.width, size.height, PixelType::U8x4);
        let resized = source
            .map_err(|error| error.to_string())
            .and_then(|source| {
                Resizer::new()
                    .resize(&source, &mut target, &options)
                    .map_err(|error| error.to_string())
            });
        resized.map_err(|why| geometry(format!("resize: {why}")))?;
        let pixels = RgbaImage::from_raw(size.width, size.height, target.into_vec());
        pixels
            .map(|pixels| self.with(pixels))
            .ok_or_else(|| geometry("resize: pixels are missing"))
    }

    fn crop(&self, (x, y): (u32, u32), part: PixelSize) -> Result<Picture, ImageError> {
        let whole = self.size();
        let is_within = |from: u32, length: u32, all: u32| {
            from.checked_add(length).is_some_and(|end| end <= all)
        };
        if !is_within(x, part.width, whole.width) || !is_within(y, part.height, whole.height) {
            return Err(geometry(format!(
                "crop: {part} at {x},{y} is not within the picture, which has {whole} pixels there"
            )));
        }
        let view = imageops::crop_imm(&self.pixels, x, y, part.width, part.height);
        Ok(self.with(view.to_image()))
    }

    fn blur(&self, sigma: f32) -> Result<Picture, ImageError> {
        let mut picture = self.clone();
        let blurred = if self.has_alpha {
            // What is transparent must not give its colour to what is not.
            picture.in_place(|muldiv, image| muldiv.multiply_alpha_inplace(image))?;
            let mut blurred = self.with(imageops::fast_blur(&picture.pixels, sigma));
            blurred.in_place(|muldiv, image| muldiv.divide_alpha_inplace(image))?;
            blurred
        } else {
            self.with(imageops::fast_blur(&picture.pixels, sigma))
        };
        Ok(blurred)
    }

    fn in_place<E: std::fmt::Display>(
        &mut self,
        change: impl FnOnce(&MulDiv, &mut Image<'_>) -> Result<(), E>,
    ) -> Result<(), ImageError> {
        let (width, height) = self.pixels.dimensions();
        let mut image = Image::from_slice_u8(width, height, &mut self.pixels, PixelType::U8x4)
            .map_err(geometry)?;
        change(&MulDiv::new(), &mut image).map_err(geometry)
    }

    fn decolor(&mut self) {
        for pixel in self.pixels.pixels_mut() {
            let [red, green, blue, _] = pixel.0.map(u32::from);
            let luma = ((2126 * red + 7152 * green + 722 * blue + 5000) / 10_000) as u8;
            pixel.0[..3].fill(luma);
        }
        self.is_gray = true;
    }
}

fn geometry(why: impl std::fmt::Display) -> ImageError {
    ImageError::new(ImageErrorClass::Geometry, why)
}

/// Does one operation. Those that say how a file is encoded do nothing here.
pub(super) fn apply(
    picture: &mut Cow<'_, Picture>,
    operation: &ImageOperation,
    max_pixels: u64,
) -> Result<(), ImageError> {
    let made = match operation {
        ImageOperation::Resize(resize) => picture.resize(resize, max_pixels)?,
        ImageOperation::Crop {
            x,
            y,
            width,
            height,
        } => picture.crop(
            (*x, *y),
            PixelSize {
                width: *width,
                height: *height,
            },
        )?,
        ImageOperation::Rotate { degrees } => picture.with(match degrees {
            90 => imageops::rotate90(&picture.pixels),
            180 => imageops::rotate180(&picture.pixels),
            _ => imageops::rotate270(&picture.pixels),
        }),
        ImageOperation::Flip { axis } => picture.with(match axis {
            ImageFlipAxis::X => imageops::flip_vertical(&picture.pixels),
            ImageFlipAxis::Y => imageops::flip_horizontal(&picture.pixels),
        }),
        ImageOperation::Blur { sigma } => picture.blur(*sigma)?,
        ImageOperation::Grayscale {} => {
            picture.to_mut().decolor();
            return Ok(());
        }
        ImageOperation::Background { color } => {
            picture
                .to_mut()
                .flatten(parse_color(color).map_err(geometry)?);
            return Ok(());
        }
        ImageOperation::Optimize(_) | ImageOperation::Format { .. } => return Ok(()),
    };
    *picture = Cow::Owned(made);
    Ok(())
}
