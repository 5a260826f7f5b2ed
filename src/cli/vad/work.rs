//! The files on their way: opened by the workers, written in the order of their names.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use v2m_decode::Mono;
use v2m_dsp::vad::corpus::{Found, Items, Search, Source};
use v2m_error::{Error, Result, text};

use super::formats::{Format, seconds};
use super::inputs::Input;
use super::page::Page;
use super::picture;
use super::progress::ProgressLine;
use super::shape::{Seen, Shape};

/// What is made of what is found.
pub(super) struct Wanted {
    pub(super) format: Format,
    pub(super) out: Option<PathBuf>,
    pub(super) skip_existing: bool,
    pub(super) picture: Option<PathBuf>,
}

/// Judges all files; whether every one could be read to its end.
pub(super) fn run(inputs: &[Input], search: &Search, wanted: &Wanted) -> Result<bool> {
    let done = |input: &&Input| wanted.skip_existing && wanted.target(input).exists();
    let inputs: Vec<&Input> = inputs.iter().filter(|input| !done(input)).collect();
    for folder in wanted.out.iter().chain(&wanted.picture) {
        make(folder)?;
    }
    let length = |input: &&Input| fs::metadata(&input.path).map_or(0, |known| known.len());
    let bytes = inputs.iter().map(length).sum();
    let read = Arc::new(AtomicU64::new(0));
    let files = Files {
        next: AtomicUsize::new(0),
        read: read.clone(),
        shapes: Arc::default(),
        output: Mutex::new(ResultWriter {
            wanted,
            threshold: search.params.threshold,
            early: BTreeMap::new(),
            written: 0,
            failures: 0,
            stopped: None,
            page: Page::default(),
            progress: ProgressLine::new(inputs.len(), bytes, read),
        }),
        stop: AtomicBool::new(false),
        inputs: &inputs,
        wanted,
    };
    let to_all = wanted.out.is_none();
    if to_all && let Err(stopped) = print(wanted.format.head()) {
        return stopped.outcome(true);
    }
    search.run(&files)?;
    let output = files
        .output
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    output.progress.clear();
    let good = output.failures == 0;
    if let Some(stopped) = output.stopped {
        return stopped.outcome(good);
    }
    if to_all && let Err(stopped) = print(wanted.format.tail()) {
        return stopped.outcome(good);
    }
    if let Some(folder) = &wanted.picture {
        write(&folder.join("index.html"), &output.page.finish())?;
    }
    Ok(good)
}

impl Wanted {
    /// The file that is written about an input; `--out` says where.
    fn target(&self, input: &Input) -> PathBuf {
        let folder = self.out.as_deref().unwrap_or(Path::new(""));
        folder.join(with_extension(&input.name, self.format.extension()))
    }
}

/// `name` may have dots of its own.
fn with_extension(name: &Path, extension: &str) -> PathBuf {
    let mut whole = name.as_os_str().to_owned();
    whole.push(".");
    whole.push(extension);
    whole.into()
}

struct Files<'a> {
    inputs: &'a [&'a Input],
    wanted: &'a Wanted,
    next: AtomicUsize,
    read: Arc<AtomicU64>,
    /// Of files that were read, for their pictures.
    shapes: Arc<Mutex<BTreeMap<usize, Shape>>>,
    output: Mutex<ResultWriter<'a>>,
    stop: AtomicBool,
}

impl<'a> Files<'a> {
    fn output(&self) -> MutexGuard<'_, ResultWriter<'a>> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Items for Files<'_> {
    fn next(&self) -> Option<(usize, Result<Box<dyn Source + '_>>)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let input = self.inputs.get(number)?;
        let opened = Mono::open_counted(&input.path, self.read.clone());
        let source = opened.map(|source| -> Box<dyn Source> {
            if self.wanted.picture.is_none() {
                return Box::new(source);
            }
            let shapes = self.shapes.clone();
            let keep = move |shape| {
                let mut shapes = shapes.lock().unwrap_or_else(PoisonError::into_inner);
                shapes.insert(number, shape);
            };
            Box::new(Seen {
                source,
                keep: Box::new(keep),
                shape: Shape::new(),
            })
        });
        Some((number, source))
    }

    fn done(&self, number: usize, found: Result<Found>) {
        let shape = {
            let mut shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
            shapes.remove(&number)
        };
        let mut output = self.output();
        output
            .progress
            .done(found.as_ref().map_or(0.0, |f| seconds(f.length)));
        output.early.insert(number, (found, shape));
        while let Some((found, shape)) = output.take_next() {
            let input = self.inputs[output.written];
            if let Err(error) = output.write(input, &found, shape.as_ref()) {
                output.stopped = Some(error);
                self.stop.store(true, Ordering::Relaxed);
                return;
            }
            output.written += 1;
        }
    }

    fn stopped(&self) -> bool {
        self.output().progress.show();
        self.stop.load(Ordering::Relaxed)
    }
}

/// What was found, in order.
struct ResultWriter<'a> {
    wanted: &'a Wanted,
    threshold: f32,
    /// Done before those ahead of them.
    early: BTreeMap<usize, (Result<Found>, Option<Shape>)>,
    written: usize,
    failures: usize,
    stopped: Option<Stopped>,
    page: Page,
    progress: ProgressLine,
}

impl ResultWriter<'_> {
    fn take_next(&mut self) -> Option<(Result<Found>, Option<Shape>)> {
        self.early.remove(&self.written)
    }

    fn write(
        &mut self,
        input: &Input,
        found: &Result<Found>,
        shape: Option<&Shape>,
    ) -> std::result::Result<(), Stopped> {
        let (format, to_all) = (self.wanted.format, self.wanted.out.is_none());
        let first = !to_all || self.written == 0;
        let content = match found {
            Ok(found) => format.file(&input.path, found, first),
            Err(error) => {
                self.failures += 1;
                let why = text::printable(&error.to_string(), text::MESSAGE);
                self.progress.clear();
                eprintln!("v2m-engine: {why}");
                self.page.add_failure(&why);
                format.failure(&input.path, &why, first)
            }
        };
        if to_all {
            print(&content)?;
        } else if found.is_ok() {
            let whole = format!("{}{content}{}", format.head(), format.tail());
            write(&self.wanted.target(input), &whole)?;
        }
        if let (Some(folder), Ok(found), Some(shape)) = (&self.wanted.picture, found, shape) {
            let name = with_extension(&input.name, "svg");
            let drawn = picture::draw(&input.path, found, shape, self.threshold);
            write(&folder.join(&name), &drawn)?;
            self.page.add(folder, &input.path, &name, found);
        }
        Ok(())
    }
}

/// Why nothing more is written.
enum Stopped {
    /// Who reads standard output has seen enough.
    ReaderGone,
    Failed(Error),
}

impl Stopped {
    fn outcome(self, good: bool) -> Result<bool> {
        match self {
            Self::ReaderGone => Ok(good),
            Self::Failed(error) => Err(error),
        }
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// To standard output.
fn print(content: &str) -> std::result::Result<(), Stopped> {
    let mut out = io::stdout().lock();
    match out.write_all(content.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Err(Stopped::ReaderGone),
        Err(cause) => Err(Error::system("can't write to standard output", cause).into()),
    }
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|cause| {
        let message = format!("can't make the folder {}", folder.display());
        Error::system(message, cause)
    })
}

/// The whole file or nothing: what was half written has another name.
fn write(path: &Path, content: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        make(folder)?;
    }
    let part = with_extension(path, "part");
    let written = fs::write(&part, content).and_then(|()| fs::rename(&part, path));
    written.map_err(|cause| Error::system(format!("can't write {}", path.display()), cause))
}
