//! What a step of a suite measured, gathered while it runs.

use std::collections::BTreeMap;

use model::measure::{Trial, Values};
use model::protocol::Taken;

/// Values by measure and conditions, each with the first failure's reason.
#[derive(Debug, Default)]
pub struct Notes(Vec<Taken>);

/// What else tells values from others of their measure.
pub type Conditions<'a> = &'a [(&'a str, &'a str)];

impl Notes {
    /// One trial of a rate; hands on what there is, where it succeeded.
    pub fn trial<T>(
        &mut self,
        measure: &str,
        conditions: Conditions<'_>,
        went: Result<T, String>,
    ) -> Option<T> {
        let taken = self.of(measure, conditions, || Values::Outcomes(Vec::new()));
        if let Values::Outcomes(outcomes) = &mut taken.values {
            outcomes.push(match went {
                Ok(_) => Trial::Success,
                Err(_) => Trial::Failure,
            });
        }
        match went {
            Ok(value) => Some(value),
            Err(why) => {
                taken.detail.get_or_insert(why);
                None
            }
        }
    }

    /// One number, in the measure's unit.
    pub fn sample(&mut self, measure: &str, conditions: Conditions<'_>, number: f64) {
        let taken = self.of(measure, conditions, || Values::Samples(Vec::new()));
        if let Values::Samples(numbers) = &mut taken.values {
            numbers.push(number);
        }
    }

    /// All that another one holds.
    pub fn append(&mut self, other: Self) {
        for taken in other.0 {
            let conditions: Vec<_> = taken.conditions.iter().map(|(k, v)| (&**k, &**v)).collect();
            let ours = self.of(&taken.name, &conditions, || match taken.values {
                Values::Samples(_) => Values::Samples(Vec::new()),
                Values::Outcomes(_) => Values::Outcomes(Vec::new()),
            });
            match (&mut ours.values, taken.values) {
                (Values::Samples(ours), Values::Samples(more)) => ours.extend(more),
                (Values::Outcomes(ours), Values::Outcomes(more)) => ours.extend(more),
                _ => {}
            }
            ours.detail = ours.detail.take().or(taken.detail);
        }
    }

    pub fn taken(self) -> Vec<Taken> {
        self.0
    }

    fn of(
        &mut self,
        measure: &str,
        conditions: Conditions<'_>,
        empty: impl FnOnce() -> Values,
    ) -> &mut Taken {
        let conditions: BTreeMap<String, String> = conditions
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let is_it = |taken: &Taken| taken.name == measure && taken.conditions == conditions;
        let place = self.0.iter().position(is_it).unwrap_or_else(|| {
            self.0.push(Taken {
                name: measure.to_owned(),
                values: empty(),
                conditions,
                detail: None,
            });
            self.0.len() - 1
        });
        &mut self.0[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_same_conditions_are_one_entry_with_the_first_failure() {
        let mut notes = Notes::default();
        notes.trial("answered", &[("to", "a")], Ok(()));
        notes.trial::<()>("answered", &[("to", "b")], Err("silence".into()));
        let mut more = Notes::default();
        more.trial::<()>("answered", &[("to", "b")], Err("again".into()));
        more.sample("request_ms", &[], 2.0);
        notes.append(more);
        let taken = notes.taken();
        assert_eq!(taken.len(), 3);
        assert_eq!(
            taken[1].values,
            Values::Outcomes(vec![Trial::Failure, Trial::Failure])
        );
        assert_eq!(taken[1].detail.as_deref(), Some("silence"));
        assert_eq!(taken[2].values, Values::Samples(vec![2.0]));
    }
}
