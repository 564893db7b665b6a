//! Sizes: what a resize takes of a picture and makes of it.

use crate::handlers::image_process::payload::{ImageFit, ImageGravity, ImageResize};

/// Width and height in pixels, at least 1 each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PixelSize {
    pub(super) width: u32,
    pub(super) height: u32,
}

impl PixelSize {
    pub(super) fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

impl std::fmt::Display for PixelSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// A part of a picture, in its pixels and fractions of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SourceBox {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// What a resize does: this part becomes a picture of this size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scaling {
    pub(super) part: SourceBox,
    pub(super) size: PixelSize,
}

/// What the resize does to a picture of this size.
pub(super) fn scaling(from: PixelSize, resize: &ImageResize) -> Scaling {
    let (width, height) = (f64::from(from.width), f64::from(from.height));
    let by_width = resize.width.map(|to| f64::from(to) / width);
    let by_height = resize.height.map(|to| f64::from(to) / height);
    let bound = |scale: f64| {
        if resize.enlarge {
            scale
        } else {
            scale.min(1.0)
        }
    };
    let whole = SourceBox {
        left: 0.0,
        top: 0.0,
        width,
        height,
    };
    let (Some(x), Some(y)) = (by_width, by_height) else {
        let scale = bound(by_width.or(by_height).unwrap_or(1.0));
        return Scaling {
            part: whole,
            size: sized(width * scale, height * scale),
        };
    };
    let even = |scale: f64| Scaling {
        part: whole,
        size: sized(width * bound(scale), height * bound(scale)),
    };
    match resize.fit {
        ImageFit::Inside => even(x.min(y)),
        ImageFit::Outside => even(x.max(y)),
        ImageFit::Fill => Scaling {
            part: whole,
            size: sized(width * bound(x), height * bound(y)),
        },
        ImageFit::Cover => {
            let scale = bound(x.max(y));
            // What is smaller than the target stays so, where it must not be enlarged.
            let size = sized(
                (width * x).min(width * scale),
                (height * y).min(height * scale),
            );
            let part_width = (f64::from(size.width) / scale).min(width);
            let part_height = (f64::from(size.height) / scale).min(height);
            let (across, down) = shares(resize.gravity);
            let part = SourceBox {
                left: (width - part_width) * across,
                top: (height - part_height) * down,
                width: part_width,
                height: part_height,
            };
            Scaling { part, size }
        }
    }
}

/// The nearest whole size.
fn sized(width: f64, height: f64) -> PixelSize {
    // A cast of a float ends at the bounds of the type.
    let whole = |side: f64| (side.round() as u32).max(1);
    PixelSize {
        width: whole(width),
        height: whole(height),
    }
}

/// How much of what is cut off lies on the left and at the top.
fn shares(gravity: ImageGravity) -> (f64, f64) {
    match gravity {
        ImageGravity::TopLeft => (0.0, 0.0),
        ImageGravity::Top => (0.5, 0.0),
        ImageGravity::TopRight => (1.0, 0.0),
        ImageGravity::Left => (0.0, 0.5),
        ImageGravity::Center => (0.5, 0.5),
        ImageGravity::Right => (1.0, 0.5),
        ImageGravity::BottomLeft => (0.0, 1.0),
        ImageGravity::Bottom => (0.5, 1.0),
        ImageGravity::BottomRight => (1.0, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resize(width: Option<u32>, height: Option<u32>, fit: ImageFit) -> ImageResize {
        ImageResize {
            width,
            height,
            fit,
            ..ImageResize::default()
        }
    }

    fn size(width: u32, height: u32) -> PixelSize {
        PixelSize { width, height }
    }

    #[test]
    fn known_sizes() {
        use ImageFit::*;
        for (from, width, height, fit, to) in [
            ((4000, 3000), Some(800), Some(600), Inside, (800, 600)),
            ((4000, 2000), Some(800), Some(600), Inside, (800, 400)),
            ((4000, 2000), Some(800), Some(600), Outside, (1200, 600)),
            ((4000, 2000), Some(800), Some(600), Cover, (800, 600)),
            ((4000, 2000), Some(800), Some(600), Fill, (800, 600)),
            ((4000, 2000), Some(800), None, Cover, (800, 400)),
            ((4000, 2000), None, Some(100), Fill, (200, 100)),
            ((100, 50), Some(800), Some(600), Inside, (100, 50)),
            ((100, 50), Some(800), Some(20), Cover, (100, 20)),
            ((10_000, 1), Some(100), Some(100), Inside, (100, 1)),
        ] {
            let made = scaling(size(from.0, from.1), &resize(width, height, fit));
            assert_eq!(made.size, size(to.0, to.1), "{from:?} {fit:?}");
        }
    }

    #[test]
    fn gravity_says_which_part_stays() {
        for (gravity, left, top) in [
            (ImageGravity::Left, 0.0, 0.0),
            (ImageGravity::Center, 1000.0, 0.0),
            (ImageGravity::BottomRight, 2000.0, 0.0),
        ] {
            let resize = ImageResize {
                gravity,
                ..resize(Some(100), Some(100), ImageFit::Cover)
            };
            let part = scaling(size(4000, 2000), &resize).part;
            assert_eq!((part.left, part.top), (left, top), "{gravity:?}");
            assert_eq!((part.width, part.height), (2000.0, 2000.0));
        }
    }

    fn sides() -> impl Strategy<Value = (u32, u32)> {
        (1u32..20_000, 1u32..20_000)
    }

    proptest! {
        #[test]
        fn a_fit_keeps_its_promise(
            from in sides(), to in sides(), enlarge in any::<bool>(),
            fit in prop::sample::select(vec![ImageFit::Inside, ImageFit::Outside, ImageFit::Fill, ImageFit::Cover]),
            gravity in prop::sample::select(vec![ImageGravity::Top, ImageGravity::Center, ImageGravity::BottomRight]),
        ) {
            let (from, to) = (size(from.0, from.1), size(to.0, to.1));
            let resize = ImageResize { enlarge, gravity, ..resize(Some(to.width), Some(to.height), fit) };
            let Scaling { part, size: made } = scaling(from, &resize);
            prop_assert!(made.width >= 1 && made.height >= 1);
            if !enlarge {
                prop_assert!(made.width <= from.width && made.height <= from.height);
            }
            let (wide, high) = (f64::from(from.width), f64::from(from.height));
            prop_assert!(part.left >= 0.0 && part.top >= 0.0 && part.width > 0.0 && part.height > 0.0);
            prop_assert!(part.left + part.width <= wide + 1e-6 && part.top + part.height <= high + 1e-6);
            let grows = to.width > from.width || to.height > from.height;
            match fit {
                ImageFit::Inside => {
                    prop_assert!(made.width <= to.width && made.height <= to.height);
                    let touches = made.width == to.width || made.height == to.height;
                    prop_assert!(touches || (!enlarge && made == from));
                }
                ImageFit::Outside if enlarge || !grows => {
                    prop_assert!(made.width >= to.width && made.height >= to.height);
                    prop_assert!(made.width == to.width || made.height == to.height);
                }
                ImageFit::Fill | ImageFit::Cover if enlarge || !grows => prop_assert_eq!(made, to),
                ImageFit::Fill | ImageFit::Cover => {
                    prop_assert!(made.width <= to.width && made.height <= to.height);
                }
                ImageFit::Outside => prop_assert!(made.width == from.width && made.height == from.height),
            }
            if fit != ImageFit::Fill {
                // The picture is not distorted by more than the rounding to whole pixels.
                let scale = f64::from(made.width) / part.width;
                let off = (f64::from(made.height) - part.height * scale).abs();
                let rounding = 0.5 + 0.5 * part.height / part.width;
                prop_assert!(off <= rounding + 0.5, "{:?} {:?}: off by {}", part, made, off);
            }
        }
    }
}
