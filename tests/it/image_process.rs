//! The kind `image_process`, on real files.

mod cancel;
mod downloads;
mod libvips;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use image::{ImageFormat, Rgb, RgbImage};
use jobq::handlers::built_in::{BuiltIn, BuiltInKind};
use jobq::handlers::image_process::{ImageProcess, ImageProcessResult, ImageProcessSettings};
use jobq::{Job, JobRecord, NewJob, State};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::names;
use crate::support::place::Scene;

/// A folder of pictures, and a queue elsewhere.
struct Studio {
    scene: Scene,
    folder: tempfile::TempDir,
    settings: ImageProcessSettings,
}

impl Studio {
    fn new() -> Studio {
        Studio {
            scene: Scene::new(),
            folder: tempfile::tempdir().unwrap(),
            settings: ImageProcessSettings::default(),
        }
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A picture in the format of its name.
    fn picture(&self, name: &str, width: u32, height: u32) -> PathBuf {
        let path = self.path(name);
        photo(width, height).save(&path).unwrap();
        path
    }

    /// A photo as a JPEG.
    fn jpeg(&self, name: &str, width: u16, height: u16) -> PathBuf {
        let path = self.path(name);
        let encoder = jpeg_encoder::Encoder::new_file(&path, 90).unwrap();
        let photo = photo(width.into(), height.into());
        let colors = jpeg_encoder::ColorType::Rgb;
        encoder.encode(&photo, width, height, colors).unwrap();
        path
    }

    /// With a source and outputs by their names in the folder.
    fn payload(&self, fields: Value) -> Value {
        let mut payload = fields;
        for name in ["source", "output", "outputPath"] {
            if let Some(path) = payload[name].as_str() {
                payload[name] = json!(self.path(path));
            }
        }
        for output in payload["outputs"].as_array_mut().into_iter().flatten() {
            output["path"] = json!(self.path(output["path"].as_str().unwrap()));
        }
        let fields = payload.as_object_mut().unwrap();
        fields.retain(|_, value| !value.is_null());
        payload
    }

    fn run(&self, payload: &Value) -> JobRecord {
        let queue = self.scene.open();
        let job = NewJob::new("image_process").payload(payload).max_retries(0);
        let id = queue.enqueue(job).unwrap().id;
        let handler = BuiltIn::<ImageProcess>::new(self.settings.clone());
        let runner = queue.runner().kind(ImageProcess::KIND, handler);
        runner.run_due().unwrap();
        queue.get(id).unwrap().unwrap()
    }

    fn process(&self, fields: Value) -> ImageProcessResult {
        let job = self.run(&self.payload(fields));
        assert_eq!(job.state, State::Completed, "{job:?}");
        serde_json::from_str(job.result.unwrap().get()).unwrap()
    }

    fn error(&self, fields: Value) -> String {
        let job = self.run(&self.payload(fields));
        assert_eq!(job.state, State::Failed, "{job:?}");
        job.error.unwrap()
    }

    /// All names in the folder.
    fn names(&self) -> Vec<String> {
        names(self.folder.path())
    }
}

/// Soft and sharp parts in many colours.
pub(crate) fn photo(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let (u, v) = (x as f32 / width as f32, y as f32 / height as f32);
        let wave = ((u * 37.0).sin() * (v * 23.0).cos() * 60.0) as i32;
        let stripe = if (x / 50 + y / 70) % 7 == 0 { 40 } else { 0 };
        let grain = (x.wrapping_mul(31) ^ y.wrapping_mul(17)) % 9;
        let channel = |base: f32| (base as i32 + wave + stripe + grain as i32).clamp(0, 255) as u8;
        Rgb([
            channel(u * 200.0),
            channel(v * 200.0),
            channel(200.0 - u * v * 150.0),
        ])
    })
}

fn resize(width: u32, height: u32) -> Value {
    json!({ "type": "resize", "width": width, "height": height })
}

fn format_of(path: &Path) -> ImageFormat {
    image::guess_format(&fs::read(path).unwrap()).unwrap()
}

fn size_of(path: &Path) -> (u32, u32) {
    let reader = image::ImageReader::open(path).unwrap();
    reader
        .with_guessed_format()
        .unwrap()
        .into_dimensions()
        .unwrap()
}

#[test]
fn the_payload_of_a_cms_is_taken_as_it_is() {
    let studio = Studio::new();
    studio.picture("in.png", 1000, 500);
    let result = studio.process(json!({
        "source": "in.png",
        "operations": [
            { "type": "resize", "width": 800, "height": 600 },
            { "type": "optimize", "quality": 85 },
            { "type": "format", "format": "webp" },
        ],
        "outputPath": "out.webp",
    }));
    let out = studio.path("out.webp");
    assert_eq!(format_of(&out), ImageFormat::WebP);
    assert_eq!(size_of(&out), (800, 400));
    let bytes = fs::read(&out).unwrap();
    let hash: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let source = fs::metadata(studio.path("in.png")).unwrap().len();
    let result = serde_json::to_value(&result).unwrap();
    assert_eq!(
        result["source"],
        json!({ "width": 1000, "height": 500, "format": "png", "bytes": source, "is_animated": false })
    );
    assert_eq!(
        result["outputs"],
        json!([{
            "path": out, "width": 800, "height": 400, "format": "webp", "bytes": bytes.len(), "sha256": hash,
        }])
    );
    assert!(result["ms"]["decode"].is_u64() && result["ms"]["encode"].is_u64());
    assert_eq!(studio.names(), ["in.png", "out.webp"]);
}

#[test]
fn several_outputs_come_from_one_reading() {
    let studio = Studio::new();
    studio.jpeg("Cat 1.jpg", 400, 300);
    let result = studio.process(json!({
        "source": "Cat 1.jpg",
        "operations": [{ "type": "rotate", "degrees": 90 }],
        "outputs": [
            { "path": "{name}-{width}x{height}.{ext}", "operations": [resize(150, 200)] },
            { "path": "{name}.{ext}", "operations": [{ "type": "format", "format": "png" }] },
            { "path": "small.webp", "operations": [resize(30, 30), { "type": "grayscale" }] },
        ],
    }));
    let sizes = result
        .outputs
        .iter()
        .map(|output| (output.width, output.height));
    assert_eq!(
        sizes.collect::<Vec<_>>(),
        [(150, 200), (300, 400), (23, 30)]
    );
    assert_eq!(
        studio.names(),
        ["Cat 1-150x200.jpg", "Cat 1.jpg", "Cat 1.png", "small.webp"]
    );
    assert_eq!(size_of(&studio.path("Cat 1.png")), (300, 400));
}

#[test]
fn the_content_of_a_source_counts_and_not_its_name() {
    let studio = Studio::new();
    let png = studio.picture("a.png", 20, 10);
    fs::rename(png, studio.path("a.jpg")).unwrap();
    let result = studio.process(json!({ "source": "a.jpg", "output": "b" }));
    assert_eq!(result.source.format, result.outputs[0].format);
    assert_eq!(format_of(&studio.path("b")), ImageFormat::Png);
    fs::write(studio.path("text.png"), "not a picture").unwrap();
    let error = studio.error(json!({ "source": "text.png", "output": "c.png" }));
    assert!(error.contains("neither JPEG, PNG"), "{error}");
}

#[test]
fn the_source_is_replaced_only_where_it_may_be() {
    let studio = Studio::new();
    let path = studio.picture("a.png", 20, 10);
    let before = fs::read(&path).unwrap();
    symlink(&path, studio.path("link.png")).unwrap();
    fs::hard_link(&path, studio.path("hard.png")).unwrap();
    for output in ["a.png", "./a.png", "{name}.{ext}", "link.png", "hard.png"] {
        let error = studio.error(json!({ "source": "a.png", "output": output }));
        assert!(error.contains("'overwrite'"), "{error}");
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    let half = [resize(10, 5)];
    studio.process(
        json!({ "source": "a.png", "output": "a.png", "operations": half, "overwrite": true }),
    );
    assert_eq!(size_of(&path), (10, 5));
    // What else is there is replaced, so that another attempt may write again.
    studio.process(json!({ "source": "a.png", "output": "hard.png" }));
    assert_eq!(size_of(&studio.path("hard.png")), (10, 5));
}

#[test]
fn the_source_is_replaced_last() {
    let studio = Studio::new();
    let path = studio.picture("a.png", 20, 10);
    fs::create_dir(studio.path("folder.png")).unwrap();
    let operations = [resize(10, 5)];
    let job = |second: &str| {
        let outputs = json!([{ "path": "a.png" }, { "path": second }]);
        json!({ "source": "a.png", "outputs": outputs, "operations": operations, "overwrite": true })
    };
    studio.error(job("folder.png"));
    assert_eq!(size_of(&path), (20, 10));
    let result = studio.process(job("b.png"));
    assert!(result.outputs[0].path.ends_with("a.png"));
    assert_eq!(
        (size_of(&path), size_of(&studio.path("b.png"))),
        ((10, 5), (10, 5))
    );
}

#[test]
fn two_outputs_must_have_two_paths() {
    let studio = Studio::new();
    studio.picture("a.png", 20, 10);
    let outputs = json!([{ "path": "b-{width}.png" }, { "path": "./b-20.png" }]);
    let error = studio.error(json!({ "source": "a.png", "outputs": outputs }));
    assert!(error.contains("two outputs"), "{error}");
    // Neither is there: they are named when all are written.
    assert_eq!(studio.names(), ["a.png"]);
}

#[test]
fn nothing_leads_out_of_the_root() {
    let mut studio = Studio::new();
    let outside = Studio::new();
    outside.picture("a.png", 20, 10);
    studio.picture("a.png", 20, 10);
    fs::create_dir(studio.path("sub")).unwrap();
    symlink(outside.folder.path(), studio.path("link")).unwrap();
    symlink(outside.path("a.png"), studio.path("a-link.png")).unwrap();
    symlink("sub", studio.path("inner")).unwrap();
    studio.settings.root = Some(studio.folder.path().to_owned());
    let run = |source: &str, output: &str| {
        let job = studio.run(&json!({ "source": source, "output": output }));
        job.error.unwrap_or_default()
    };
    let secret = outside.path("a.png");
    let secret = secret.to_str().unwrap();
    for (source, output) in [
        (secret, "b.png"),
        ("../a.png", "b.png"),
        ("link/a.png", "b.png"),
        ("a-link.png", "b.png"),
        ("a.png", "link/b.png"),
        ("a.png", "sub/../../b.png"),
        ("a.png", "/tmp/b.png"),
    ] {
        let error = run(source, output);
        assert!(
            error.contains("outside the root"),
            "{source} {output}: {error}"
        );
    }
    assert_eq!(outside.names(), ["a.png"]);
    let below = studio.path("sub/d.png");
    for (source, output) in [
        ("a.png", "inner/b.png"),
        ("sub/../a.png", "sub/c.png"),
        ("a.png", below.to_str().unwrap()),
    ] {
        assert_eq!(run(source, output), "");
    }
    assert!(
        ["b", "c", "d"]
            .iter()
            .all(|name| studio.path(format!("sub/{name}.png")).exists())
    );
}

#[test]
fn what_cannot_succeed_fails_at_once_and_says_why() {
    let mut studio = Studio::new();
    studio.settings.max_input_bytes = 100_000;
    studio.settings.max_pixels = 10_000;
    studio.picture("a.png", 20, 10);
    studio.picture("many.png", 200, 51);
    fs::write(studio.path("large.png"), vec![0; 100_001]).unwrap();
    let whole = fs::read(studio.path("a.png")).unwrap();
    fs::write(studio.path("cut.png"), &whole[..whole.len() / 2]).unwrap();
    mknodat(CWD, studio.path("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    fs::create_dir(studio.path("folder.png")).unwrap();
    let crop = json!([{ "type": "crop", "x": 15, "y": 0, "width": 6, "height": 1 }]);
    for (fields, why) in [
        (
            json!({ "source": "none.png" }),
            "none.png' cannot be read: No such file",
        ),
        (json!({ "source": "folder.png" }), "is not a file"),
        (json!({ "source": "pipe" }), "is not a file"),
        (json!({ "source": "large.png" }), "max_input_bytes"),
        (json!({ "source": "many.png" }), "200x51 pixels; max_pixels"),
        (json!({ "source": "cut.png" }), "cannot be decoded"),
        (json!({ "operations": crop }), "crop: 6x1 at 15,0"),
        (
            json!({ "output": "none/b.png" }),
            "cannot be written: No such file",
        ),
        (
            json!({ "output": "folder.png" }),
            "cannot be written: Is a directory",
        ),
    ] {
        let mut payload = json!({ "source": "a.png", "output": "b.png" });
        payload
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let queue = studio.scene.open();
        // It has retries, and takes none.
        let job = NewJob::new("image_process").payload(&studio.payload(payload));
        let id = queue.enqueue(job).unwrap().id;
        let handler = BuiltIn::<ImageProcess>::new(studio.settings.clone());
        queue
            .runner()
            .kind(ImageProcess::KIND, handler)
            .run_due()
            .unwrap();
        let job = queue.get(id).unwrap().unwrap();
        assert_eq!(job.state, State::Failed, "{job:?}");
        let error = job.error.unwrap();
        assert!(error.contains(why), "{error}");
    }
    assert!(!studio.path("b.png").exists());
}

#[test]
fn a_payload_that_makes_no_sense_is_not_enqueued() {
    let kind = BuiltInKind::named("image_process").unwrap();
    let operation = |operation: Value| json!({ "operations": [operation] });
    for (fields, why) in [
        (json!({ "output": null }), "'output' is missing"),
        (
            json!({ "outputs": [{ "path": "b.png" }] }),
            "exclude each other",
        ),
        (json!({ "source": null }), "'source' is missing"),
        (json!({ "source_url": "http://a/b" }), "exclude each other"),
        (
            json!({ "source": null, "source_url": "ftp://a/b" }),
            "http://",
        ),
        (json!({ "output": "" }), "not the path of a file"),
        (json!({ "output": "a/" }), "not the path of a file"),
        (json!({ "output": "{size}.png" }), "has {size} in it"),
        (json!({ "output": "a.gif" }), "read and not written"),
        (json!({ "output": "a.tiff" }), "none of a format"),
        (json!({ "outptu": "a.png" }), "unknown field"),
        (
            operation(json!({ "type": "resize" })),
            "'width' and 'height' are missing",
        ),
        (operation(resize(0, 5)), "at least 1"),
        (operation(json!({ "type": "resize", "with": 5 })), "with"),
        (operation(json!({ "type": "sharpen" })), "sharpen"),
        (
            operation(json!({ "type": "rotate", "degrees": 45 })),
            "90, 180 or 270",
        ),
        (operation(json!({ "type": "blur", "sigma": 0 })), "'sigma'"),
        (
            operation(json!({ "type": "background", "color": "red" })),
            "'red' is not a colour",
        ),
        (
            operation(json!({ "type": "optimize", "quality": 101 })),
            "'quality'",
        ),
        (
            operation(json!({ "type": "crop", "x": 0, "y": 0, "width": 0, "height": 1 })),
            "at least 1",
        ),
    ] {
        let mut payload = json!({ "source": "a.png", "output": "b.png" });
        payload
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        payload
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        let error = kind.check(&payload.to_string()).unwrap_err().to_string();
        assert!(error.contains(why), "{payload}: {error}");
    }
}

#[cfg(not(feature = "image-avif"))]
#[test]
fn a_build_without_avif_refuses_it_before_work() {
    let kind = BuiltInKind::named("image_process").unwrap();
    let payload = json!({ "source": "a.png", "output": "b.avif" }).to_string();
    let error = kind.check(&payload).unwrap_err().to_string();
    assert!(error.contains("cargo feature image-avif"), "{error}");
}
