//! Colours, and the guard against texts that would steer a terminal: flows carry what strangers sent.

use std::borrow::Cow;

/// Whether to colour. What "auto" means was decided by who knows the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Blue = 34,
    Magenta = 35,
    Cyan = 36,
}

impl Colour {
    const ALL: [Self; 6] = [Self::Red, Self::Green, Self::Yellow, Self::Blue, Self::Magenta, Self::Cyan];

    fn start(self) -> String {
        format!("\u{1b}[{}m", self as u8)
    }
}

const RESET: &str = "\u{1b}[0m";

pub(crate) struct Palette {
    /// Sequences that may pass to the terminal.
    allowed: Vec<String>,
}

impl Palette {
    pub(crate) fn new(colours: Colours) -> Self {
        let allowed = match colours {
            Colours::Never => Vec::new(),
            Colours::Always => Colour::ALL.map(Colour::start).into_iter().chain([RESET.to_owned()]).collect(),
        };
        Self { allowed }
    }

    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        if self.allowed.is_empty() {
            return text.to_owned();
        }
        format!("{}{text}{RESET}", colour.start())
    }

    /// Escape characters and carriage returns become visible; colours in use pass.
    pub(crate) fn escape<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if !text.contains(['\u{1b}', '\r']) {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len() + 8);
        let mut rest = text;
        while let Some(at) = rest.find(['\u{1b}', '\r']) {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let taken = match self.allowed.iter().find(|sequence| rest.starts_with(sequence.as_str())) {
                Some(sequence) => {
                    out.push_str(sequence);
                    sequence.len()
                }
                None => {
                    out.push_str(if rest.starts_with('\r') { "\\r" } else { "^[" });
                    1
                }
            };
            rest = &rest[taken..];
        }
        out.push_str(rest);
        Cow::Owned(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_do_not_steer_the_terminal() {
        let text = "a\u{1b}[31mb\u{1b}[2Jc\rd";
        assert_eq!(Palette::new(Colours::Never).escape(text), "a^[[31mb^[[2Jc\\rd");
        assert_eq!(Palette::new(Colours::Always).escape(text), "a\u{1b}[31mb^[[2Jc\\rd");
    }
}
