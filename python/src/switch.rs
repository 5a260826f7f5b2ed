//! The interpreter's switch interval, lowered while a stream wants it so: how long a
//! thread with audio waits for one that runs pure Python to give up the GIL.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

/// The lowest that is of use: CPython counts in microseconds.
pub(crate) const SHORTEST: f64 = 1e-6;
/// More than this nobody means.
pub(crate) const LONGEST: f64 = 1.0;

/// What is asked for now, and what the program itself had set.
struct Wishes {
    asked: Vec<f64>,
    /// Before the first wish.
    program: f64,
    /// What we set last, as the interpreter told it then.
    set: f64,
}

static WISHES: Mutex<Wishes> = Mutex::new(Wishes {
    asked: Vec::new(),
    program: 0.0,
    set: 0.0,
});

/// One stream's wish; in force until [`Lowered::restore`].
#[derive(Debug)]
pub(crate) struct Lowered(f64);

impl Lowered {
    /// Has the interval be `seconds` at most from now on.
    pub(crate) fn new(py: Python<'_>, seconds: f64) -> PyResult<Self> {
        let now = get(py)?;
        let mut wishes = wishes(py);
        // The program set another one meanwhile: that is what to go back to.
        if wishes.asked.is_empty() || now != wishes.set {
            wishes.program = now;
        }
        wishes.asked.push(seconds);
        wishes.apply(py)?;
        Ok(Self(seconds))
    }

    /// Goes back to what the other streams want or, after the last of them, to what the
    /// program had set. An interval that the program set meanwhile is left alone.
    pub(crate) fn restore(self, py: Python<'_>) -> PyResult<()> {
        let now = get(py)?;
        let mut wishes = wishes(py);
        if let Some(at) = wishes.asked.iter().position(|asked| *asked == self.0) {
            wishes.asked.swap_remove(at);
        }
        match now == wishes.set {
            true => wishes.apply(py),
            false => Ok(()),
        }
    }
}

impl Wishes {
    fn apply(&mut self, py: Python<'_>) -> PyResult<()> {
        let wanted = self.asked.iter().copied().fold(self.program, f64::min);
        // CPython cuts to whole microseconds: half a one more, so that none is lost.
        py.import(intern!(py, "sys"))?
            .call_method1(intern!(py, "setswitchinterval"), (wanted + 0.5e-6,))?;
        self.set = get(py)?;
        Ok(())
    }
}

/// Lets go of the GIL while it waits: who holds the lock calls Python.
fn wishes(py: Python<'_>) -> MutexGuard<'static, Wishes> {
    WISHES
        .lock_py_attached(py)
        .unwrap_or_else(PoisonError::into_inner)
}

fn get(py: Python<'_>) -> PyResult<f64> {
    py.import(intern!(py, "sys"))?
        .call_method0(intern!(py, "getswitchinterval"))?
        .extract()
}
