//! Interleaved rounds and what is made of them: ratios to the baseline of the same round, their median and spread.

use serde::Serialize;

/// Figures of one path, a value a round.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Series {
    pub(crate) values: Vec<f64>,
}

/// Median and extremes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Series {
    pub(crate) fn spread(&self) -> Spread {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
        Spread { median: at(sorted.len() / 2), low: at(0), high: at(sorted.len().saturating_sub(1)) }
    }

    /// Each value divided by the other series' of the same round.
    pub(crate) fn over(&self, baseline: &Self) -> Self {
        Self { values: self.values.iter().zip(&baseline.values).map(|(a, b)| a / b).collect() }
    }
}

/// An order for round `round` of `count` things: each begins elsewhere, every second one runs backwards, so that no
/// path always follows the same one.
pub(crate) fn order(count: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.rotate_left(round * 2 % count.max(1));
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_a_rounds_own() {
        let base = Series { values: vec![1.0, 2.0, 4.0] };
        let other = Series { values: vec![1.5, 2.0, 8.0] };
        assert_eq!(other.over(&base).spread(), Spread { median: 1.5, low: 1.0, high: 2.0 });
    }

    #[test]
    fn each_order_is_complete_and_they_differ() {
        let orders: Vec<_> = (0..6).map(|round| order(7, round)).collect();
        for found in &orders {
            let mut sorted = found.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..7).collect::<Vec<_>>());
        }
        assert!(orders.windows(2).all(|w| w[0] != w[1]));
    }
}
