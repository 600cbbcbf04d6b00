//! Classes of one classifier as rows, and the policies that use it as columns: what each policy decides about each class.
//!
//! An identity that is to be decided about in a certain way by every policy goes to a class whose row says just that; a new
//! class is made where there is none. So no policy's decision about anybody else is touched.

use std::collections::HashMap;

/// Stands for any decision: no identity is of that class yet.
pub(super) const ANY: u32 = u32::MAX;

pub(super) struct Grid {
    columns: Vec<Vec<u32>>,
    classes: usize,
    known: HashMap<Vec<u32>, u32>,
}

impl Grid {
    /// `columns` have at least an element for each of `classes`.
    pub(super) fn new(mut columns: Vec<Vec<u32>>, classes: usize) -> Self {
        // What is beyond was left by a change that found no room.
        columns.iter_mut().for_each(|column| column.truncate(classes));
        Self { columns, classes, known: HashMap::new() }
    }

    /// What each policy decides about `class`.
    pub(super) fn row(&self, class: u32) -> Vec<u32> {
        self.columns.iter().map(|column| column.get(class as usize).copied().unwrap_or(0)).collect()
    }

    /// The class that every policy decides about as `row` says.
    pub(super) fn place(&mut self, row: Vec<u32>) -> u32 {
        if let Some(class) = self.known.get(&row) {
            return *class;
        }
        let fits = |class: &usize| {
            self.columns.iter().zip(&row).all(|(column, wanted)| [*wanted, ANY].contains(&column[*class]))
        };
        let class = (0..self.classes).find(fits);
        for (column, wanted) in self.columns.iter_mut().zip(&row) {
            match class {
                Some(class) => column[class] = *wanted,
                None => column.push(*wanted),
            }
        }
        let class = class.unwrap_or(self.classes);
        self.classes = self.classes.max(class + 1);
        self.known.insert(row, class as u32);
        class as u32
    }

    pub(super) fn classes(&self) -> usize {
        self.classes
    }

    pub(super) fn into_columns(self) -> Vec<Vec<u32>> {
        self.columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_made_and_filled_in() {
        let mut grid = Grid::new(vec![vec![0, 1, 1], vec![5, 6, ANY]], 3);
        assert_eq!(grid.place(vec![1, 6]), 1);
        assert_eq!(grid.place(vec![1, 7]), 2, "nobody is of class 2 yet");
        assert_eq!(grid.place(vec![1, 8]), 3);
        assert_eq!(grid.place(vec![1, 8]), 3);
        assert_eq!(grid.row(0), [0, 5]);
        assert_eq!(grid.classes(), 4);
        assert_eq!(grid.into_columns(), [[0, 1, 1, 1], [5, 6, 7, 8]]);
    }
}
