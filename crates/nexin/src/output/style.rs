//! Colour, decided once and handed down. Without it every function here returns its text unchanged.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Good,
    Bad,
    Warn,
    Dim,
    Strong,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Style {
    on: bool,
}

impl Style {
    pub(crate) const fn new(on: bool) -> Self {
        Self { on }
    }

    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Plain => return text.to_owned(),
            Paint::Good => "32",
            Paint::Bad => "31",
            Paint::Warn => "33",
            Paint::Dim => "2",
            Paint::Strong => "1",
        };
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn strong(self, text: &str) -> String {
        self.paint(Paint::Strong, text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint(Paint::Dim, text)
    }
}
