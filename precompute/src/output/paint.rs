//! Colours for what a person has to find at a glance.
//!
//! Invariant: a text says the same without them. They are written into the text, and taken out where they are of no use:
//! by [`say`](super::say) and [`complain`](super::complain). Pure.

use std::fmt;

use anstyle::{AnsiColor, Style};

/// A text in a colour.
#[derive(Clone, Copy, Debug)]
pub struct Painted<T>(Style, T);

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.0.render(), self.1, self.0.render_reset())
    }
}

/// All is well.
pub const fn well<T>(text: T) -> Painted<T> {
    Painted(AnsiColor::Green.on_default(), text)
}

/// It may not be intended, or will not stay.
pub const fn doubtful<T>(text: T) -> Painted<T> {
    Painted(AnsiColor::Yellow.on_default().bold(), text)
}

/// It is wrong, or is no longer good.
pub const fn wrong<T>(text: T) -> Painted<T> {
    Painted(AnsiColor::Red.on_default().bold(), text)
}
