//! Columns of text. Widths come from the content; the last column is never padded, so lines can be copied.

use super::{Paint, Style};

#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    pub(crate) fn new(paint: Paint, text: impl Into<String>) -> Self {
        Self { text: text.into(), paint }
    }

    /// `-` where there is nothing to say, so that columns stay countable.
    pub(crate) fn maybe<T: ToString>(value: Option<T>) -> Self {
        value.map_or_else(|| Self::new(Paint::Dim, "-"), |value| Self::from(value.to_string()))
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        let text = text.into();
        if text.is_empty() { Self::new(Paint::Dim, "-") } else { Self::new(Paint::Plain, text) }
    }
}

pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    empty: &'static str,
}

const GAP: usize = 2;

impl Table {
    /// `empty` is what is said when there is no row.
    pub(crate) fn new(head: &[&'static str], empty: &'static str) -> Self {
        Self { head: head.to_vec(), rows: Vec::new(), empty }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    pub(crate) fn render(&self, style: Style) -> String {
        if self.rows.is_empty() {
            return format!("{}\n", self.empty);
        }
        let mut widths: Vec<usize> = self.head.iter().map(|head| head.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let head: Vec<Cell> = self.head.iter().map(|head| Cell::new(Paint::Strong, *head)).collect();
        let mut text = String::new();
        for row in std::iter::once(&head).chain(&self.rows) {
            line(&mut text, row, &widths, style);
        }
        text
    }
}

fn line(text: &mut String, row: &[Cell], widths: &[usize], style: Style) {
    for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
        text.push_str(&style.paint(cell.paint, &cell.text));
        if i + 1 < row.len() {
            text.extend(std::iter::repeat_n(' ', width - cell.text.chars().count() + GAP));
        }
    }
    text.push('\n');
}

/// Names and values below each other, for one thing with many sides.
pub(crate) fn facts(style: Style, facts: &[(&str, Cell)]) -> String {
    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0) + 1;
    let mut text = String::new();
    for (name, value) in facts {
        let name = format!("{:<width$}", format!("{name}:"));
        text.push_str(&format!("{} {}\n", style.strong(&name), style.paint(value.paint, &value.text)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&["ID", "NAME", "LABELS"], "no endpoints");
        table.row(["7".into(), "default/web".into(), "app=web".into()]);
        table.row(["1041".into(), Cell::new(Paint::Bad, "x"), Cell::maybe(None::<u8>)]);
        table
    }

    #[test]
    fn columns_line_up() {
        assert_eq!(
            sample().render(Style::new(false)),
            "ID    NAME         LABELS\n\
             7     default/web  app=web\n\
             1041  x            -\n"
        );
    }

    #[test]
    fn colour_does_not_move_columns() {
        let coloured = sample().render(Style::new(true));
        let mut plain = coloured;
        for code in ["\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[0m"] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, sample().render(Style::new(false)));
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(Table::new(&["ID"], "no endpoints").render(Style::new(true)), "no endpoints\n");
    }

    #[test]
    fn facts_line_up() {
        let text = facts(Style::new(false), &[("id", "7".into()), ("identity", "4711".into())]);
        assert_eq!(text, "id:       7\nidentity: 4711\n");
    }
}
