//! Taking turns: every program runs once in each round.

use anyhow::Result;

/// Something that takes a time per run.
pub trait Subject {
    /// Nanoseconds per run, over `repeat` runs.
    fn time_ns(&mut self, repeat: u32) -> Result<f64>;
}

/// Nanoseconds of each subject over the first one: medians over all rounds of the difference
/// within a round. The first value is that of the first subject itself.
pub fn over_first(subjects: &mut [Box<dyn Subject + '_>], rounds: usize, repeat: u32) -> Result<Vec<f64>> {
    let mut samples: Vec<Vec<f64>> = vec![Vec::with_capacity(rounds); subjects.len()];
    // Caches, branch predictors and clocks warm up on somebody else's time.
    for subject in subjects.iter_mut() {
        subject.time_ns(repeat)?;
    }
    for _ in 0..rounds {
        let mut first = None;
        for (subject, samples) in subjects.iter_mut().zip(&mut samples) {
            let time = subject.time_ns(repeat)?;
            samples.push(time - first.unwrap_or(0.0));
            first.get_or_insert(time);
        }
    }
    Ok(samples.into_iter().map(median).collect())
}

/// The middle value; 0 of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        len if len % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::{Subject, median, over_first};

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    struct Fixed(f64);

    impl Subject for Fixed {
        fn time_ns(&mut self, _repeat: u32) -> anyhow::Result<f64> {
            Ok(self.0)
        }
    }

    #[test]
    fn the_first_is_taken_off_the_others() {
        let mut subjects: Vec<Box<dyn Subject>> = vec![Box::new(Fixed(20.0)), Box::new(Fixed(27.5))];
        assert_eq!(over_first(&mut subjects, 3, 1).unwrap(), [20.0, 7.5]);
    }
}
