//! Thumbnails of photos, beside the programs that many use for them.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use jobq::handlers::built_in::BuiltIn;
use jobq::handlers::image_process::{ImageProcess, ImageProcessSettings};
use jobq::{Durability, Job, NewJob, Until};
use serde_json::json;

use crate::Done;
use crate::plan::Plan;
use crate::report::{Goal, Line, Pair};

/// So many photos are different; the others are the same files again.
const DISTINCT: usize = 20;

/// A program that makes `out/N.jpg` of `in/M.jpg`, as `sh -c` sees it.
struct Rival {
    name: &'static str,
    command: &'static str,
    /// Of jobq's pictures per second to its.
    goal: Goal,
}

const RIVALS: [Rival; 2] = [
    Rival {
        name: "vipsthumbnail",
        command: "VIPS_CONCURRENCY=1 vipsthumbnail in/$1.jpg --size 800x600 -o ../out/$2.jpg[Q=85]",
        goal: Goal::AtLeast(1.0 / 1.3),
    },
    Rival {
        name: "convert",
        command: "MAGICK_THREAD_LIMIT=1 convert in/$1.jpg -auto-orient -resize 800x600 -strip -quality 85 out/$2.jpg",
        goal: Goal::AtLeast(1.0),
    },
];

pub(crate) fn thumbnails(plan: &Plan) -> Done {
    let images = plan.jobs_or(plan.pick(200, 4));
    let cores = std::thread::available_parallelism()?.get();
    let photos = plan.setup(Durability::Full).scratch()?;
    let folder = photos.path();
    fs::create_dir(folder.join("in"))?;
    fs::create_dir(folder.join("out"))?;
    for number in 0..DISTINCT.min(images) {
        photo(number as u32, &folder.join(format!("in/{number}.jpg")))?;
    }
    for rival in &RIVALS {
        let mut rates = Pair::new(rival.name);
        for _ in 0..plan.pick(3, 1) {
            let own = own(plan, folder, images, cores)?;
            let Some(other) = rival.run(folder, images, cores)? else {
                println!("there is no {}", rival.name);
                break;
            };
            rates.push(images as f64 / own, images as f64 / other);
        }
        if !rates.values.is_empty() {
            Line::pair("12 MP JPEG to 800x600 JPEG", "images/s", &rates)
                .goal_of_ratio(rates.ratio(), plan.goal(rival.goal))
                .print();
        }
    }
    Ok(())
}

/// How many seconds jobq takes, from the start of the runner to the end of the last job.
fn own(plan: &Plan, folder: &Path, images: usize, cores: usize) -> Result<f64, Box<dyn Error>> {
    let setup = plan.setup(Durability::Full);
    let scratch = setup.scratch()?;
    let queue = setup.open(&scratch.path().join("jobs.db"))?;
    for number in 0..images {
        let source = folder.join(format!("in/{}.jpg", number % DISTINCT));
        queue.enqueue(NewJob::new(ImageProcess::KIND).payload(&json!({
            "source": source,
            "output": folder.join(format!("out/{number}.jpg")),
            "operations": [{ "type": "resize", "width": 800, "height": 600 }],
        })))?;
    }
    let handler = BuiltIn::<ImageProcess>::new(ImageProcessSettings::default());
    let runner = queue
        .runner()
        .workers(cores)
        .kind(ImageProcess::KIND, handler)
        .until(Until::Drained);
    let began = Instant::now();
    let ended = runner.start()?.wait()?;
    let took = began.elapsed().as_secs_f64();
    match ended.stats.completed == images as u64 {
        true => Ok(took),
        false => Err(format!("{} of {images} were made", ended.stats.completed).into()),
    }
}

impl Rival {
    /// How many seconds it takes; none if it is not installed.
    fn run(
        &self,
        folder: &Path,
        images: usize,
        cores: usize,
    ) -> Result<Option<f64>, Box<dyn Error>> {
        let is_there = Command::new("sh")
            .args(["-c", "command -v \"$0\"", self.name])
            .stdout(Stdio::null())
            .status()?;
        if !is_there.success() {
            return Ok(None);
        }
        let mut pairs = String::new();
        for number in 0..images {
            writeln!(pairs, "{} {number}", number % DISTINCT)?;
        }
        let list = folder.join("pairs");
        fs::write(&list, pairs)?;
        let mut xargs = Command::new("xargs");
        xargs.current_dir(folder).arg("-a").arg(list).args([
            "-P",
            &cores.to_string(),
            "-L1",
            "sh",
            "-c",
            self.command,
            "sh",
        ]);
        let began = Instant::now();
        let ended = xargs.stdout(Stdio::null()).status()?;
        let took = began.elapsed().as_secs_f64();
        match ended.success() {
            true => Ok(Some(took)),
            false => Err(format!("{} ended with {ended}", self.name).into()),
        }
    }
}

/// Writes a JPEG of 12 megapixels and some 4 MB, another for each number.
fn photo(number: u32, path: &Path) -> Done {
    const WIDTH: u16 = 4000;
    const HEIGHT: u16 = 3000;
    let mut random = fastrand::Rng::with_seed(number.into());
    let waves: Vec<[f32; 3]> = (0..6)
        .map(|_| [random.f32() * 0.02, random.f32() * 0.02, random.f32() * 6.0])
        .collect();
    let mut pixels = Vec::with_capacity(usize::from(WIDTH) * usize::from(HEIGHT) * 3);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let grain = random.u8(0..24);
            let (x, y) = (f32::from(x), f32::from(y));
            for colour in waves.chunks(2) {
                let sum: f32 = colour
                    .iter()
                    .map(|[across, down, shift]| (x * across + y * down + shift).sin())
                    .sum();
                pixels.push((116.0 + 50.0 * sum) as u8 + grain);
            }
        }
    }
    let encoder = jpeg_encoder::Encoder::new_file(path, 90)?;
    encoder.encode(&pixels, WIDTH, HEIGHT, jpeg_encoder::ColorType::Rgb)?;
    Ok(())
}
