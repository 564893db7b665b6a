//! The page: files for the browser, served as they are. They hold no data and need no token.

/// A file of the page.
pub(crate) struct PageFile {
    /// Its address, as `/parts/api.js`.
    pub(crate) path: &'static str,
    pub(crate) media_type: &'static str,
    pub(crate) bytes: &'static [u8],
}

macro_rules! page_files {
    ($($media_type:literal: $($path:literal $(as $address:literal)?),+ $(,)?;)+) => {
        &[$($(PageFile {
            path: page_files!(@address $path $($address)?),
            media_type: $media_type,
            bytes: include_bytes!($path),
        }),+),+]
    };
    (@address $path:literal) => { concat!("/", $path) };
    (@address $path:literal $address:literal) => { $address };
}

/// Every file of the page.
pub(crate) const FILES: &[PageFile] = page_files! {
    "text/html; charset=utf-8": "index.html" as "/";
    "text/css; charset=utf-8": "app.css", "vendor/uplot.css";
    "image/svg+xml": "icon.svg";
    "text/plain; charset=utf-8": "vendor/LICENSES.txt";
    "text/javascript; charset=utf-8":
        "app.js",
        "embed.js",
        "parts/actions.js",
        "parts/ansi.js",
        "parts/api.js",
        "parts/enqueue.js",
        "parts/features.js",
        "parts/format.js",
        "parts/gantt.js",
        "parts/graph.js",
        "parts/html.js",
        "parts/keys.js",
        "parts/live.js",
        "parts/log.js",
        "parts/palette.js",
        "parts/router.js",
        "parts/search.js",
        "parts/text.js",
        "parts/theme.js",
        "parts/timebar.js",
        "parts/ui.js",
        "parts/undo.js",
        "parts/why.js",
        "vendor/hooks.js",
        "vendor/htm.js",
        "vendor/preact.js",
        "vendor/uplot.js",
        "views/charts.js",
        "views/errors.js",
        "views/job.js",
        "views/jobs.js",
        "views/overview.js",
        "views/queues.js",
        "views/runners.js",
        "views/schedules.js";
};

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn files_below(folder: &Path, prefix: &str, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            match path.is_dir() {
                true => files_below(&path, &format!("{prefix}{name}/"), found),
                false => found.push(format!("{prefix}{name}")),
            }
        }
    }

    #[test]
    fn every_file_of_the_page_is_served() {
        let mut found = Vec::new();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/page");
        files_below(&folder, "/", &mut found);
        found.retain(|path| !path.ends_with(".rs") && !path.ends_with(".md"));
        found.sort();
        let mut served: Vec<_> = FILES.iter().map(|file| file.path.to_owned()).collect();
        let start = served.iter_mut().find(|path| *path == "/").unwrap();
        *start = "/index.html".to_owned();
        served.sort();
        assert_eq!(found, served);
    }
}
