//! The results beside those of libvips.

use std::fs;
use std::path::Path;
use std::process::Command;

use image::DynamicImage;
use serde_json::json;

use super::{Studio, resize};

/// Whether the programs of libvips are there.
fn vips(args: &[&str]) -> Option<String> {
    let Ok(output) = Command::new("vips").args(args).output() else {
        eprintln!("skipped: there is no vips");
        return None;
    };
    assert!(output.status.success(), "{args:?}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// How far apart two pictures are, in decibels.
fn psnr(one: &DynamicImage, other: &DynamicImage) -> f64 {
    let (one, other) = (one.to_rgb8(), other.to_rgb8());
    assert_eq!(one.dimensions(), other.dimensions());
    let squares = one.iter().zip(other.iter());
    let sum: u64 = squares
        .map(|(one, other)| u64::from(one.abs_diff(*other)).pow(2))
        .sum();
    10.0 * (65_025.0 * one.len() as f64 / sum as f64).log10()
}

#[test]
fn a_thumbnail_is_much_the_same_as_that_of_libvips() {
    let studio = Studio::new();
    let source = studio.jpeg("a.jpg", 2000, 1500);
    let sides = |path: &Path| path.to_str().unwrap().to_owned();
    let (source, theirs) = (sides(&source), sides(&studio.path("theirs.png")));
    let thumbnail = ["thumbnail", &source, &theirs, "400", "--height", "300"];
    if vips(&thumbnail).is_none() {
        return;
    }
    let mut names = vec![("a.png", 38.0), ("b.jpg", 34.0), ("c.webp", 34.0)];
    if cfg!(feature = "image-avif") {
        names.push(("d.avif", 34.0));
    }
    for (name, least) in names {
        let operations = [resize(400, 300)];
        studio.process(json!({ "source": "a.jpg", "output": name, "operations": operations }));
        let ours = image::load_from_memory(&fs::read(studio.path(name)).unwrap());
        let ours = match ours {
            Ok(ours) => ours,
            // The library has no decoder here for JPEG and AVIF: libvips reads them.
            Err(_) => {
                let (file, png) = (sides(&studio.path(name)), sides(&studio.path("read.png")));
                vips(&["copy", &file, &png]).unwrap();
                image::open(png).unwrap()
            }
        };
        let psnr = psnr(&ours, &image::open(&theirs).unwrap());
        assert!(psnr > least, "{name}: {psnr:.1} dB");
    }
}
