//! Columns as wide as their widest cell, where a column is a run of lines that have a cell there (elastic tab stops).
//! Cells end with a tab; what follows the last tab of a line is no cell.

/// Aligns `text`; each column is at least `least` characters wide and `padding` wider than its cells.
pub(crate) fn align(text: &str, least: usize, padding: usize) -> String {
    let mut lines: Vec<Vec<&str>> = Vec::new();
    for line in text.split(['\n', '\x0c']) {
        lines.push(line.split(['\t', '\x0b']).collect());
    }
    let mut table = Table { out: String::with_capacity(text.len() * 2), lines, widths: Vec::new(), least, padding };
    table.format(0, table.lines.len());
    table.out
}

struct Table<'a> {
    out: String,
    lines: Vec<Vec<&'a str>>,
    /// Of the columns to the left.
    widths: Vec<usize>,
    least: usize,
    padding: usize,
}

impl Table<'_> {
    fn has_cell(&self, line: usize, column: usize) -> bool {
        column + 1 < self.lines[line].len()
    }

    fn format(&mut self, first: usize, end: usize) {
        let column = self.widths.len();
        let (mut printed, mut this) = (first, first);
        while this < end {
            if !self.has_cell(this, column) {
                this += 1;
                continue;
            }
            self.print(printed, this);
            let start = this;
            let mut width = self.least;
            while this < end && self.has_cell(this, column) {
                width = width.max(self.lines[this][column].chars().count() + self.padding);
                this += 1;
            }
            self.widths.push(width);
            self.format(start, this);
            self.widths.pop();
            printed = this;
        }
        self.print(printed, end);
    }

    fn print(&mut self, first: usize, end: usize) {
        for number in first..end {
            for (column, cell) in self.lines[number].iter().enumerate() {
                self.out.push_str(cell);
                if let Some(width) = self.widths.get(column) {
                    let padding = width.saturating_sub(cell.chars().count());
                    self.out.extend(std::iter::repeat_n(' ', padding));
                }
            }
            if number + 1 < self.lines.len() {
                self.out.push('\n');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_runs_of_lines() {
        assert_eq!(align("a\tbb\tc\naaa\tb\tc\nplain\nx\ty\n", 2, 3), "a     bb   c\naaa   b    c\nplain\nx   y\n");
        assert_eq!(align("é\tb\n", 0, 1), "é b\n");
    }
}
