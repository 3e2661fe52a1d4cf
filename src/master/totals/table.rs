//! The tables of other versions of the program, whose values this one adds up as well.

use std::collections::HashMap;

use crate::metrics::{self, LEN};

/// What another program, or this one, calls the values that it tells, in its order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) names: Vec<String>,
    /// Where they stand in the table of this one.
    places: Vec<Option<usize>>,
}

impl Table {
    pub(super) fn of(names: Vec<String>) -> Self {
        let own = metrics::names();
        let own: HashMap<_, _> = own.iter().enumerate().map(|(at, it)| (it, at)).collect();
        let places = names.iter().map(|name| own.get(name).copied()).collect();
        Self { names, places }
    }

    /// The values in the order of this program's table; none if there is another number of them.
    pub(super) fn read(&self, values: &[u64]) -> Option<Vec<u64>> {
        if values.len() != self.names.len() {
            return None;
        }
        let mut own = vec![0; LEN];
        for (place, &value) in self.places.iter().zip(values) {
            if let Some(place) = place.and_then(|place| own.get_mut(place)) {
                *place = value;
            }
        }
        Some(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_values_have_the_same_name_and_the_own_table_is_read_as_it_is() {
        let names = metrics::names();
        let all: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!((names.len(), all.len()), (LEN, LEN));
        let values: Vec<_> = (0..LEN as u64).collect();
        assert_eq!(Table::of(names).read(&values), Some(values));
    }

    #[test]
    fn values_of_another_table_are_found_by_their_names() {
        let mut names = metrics::names();
        names.rotate_left(3);
        names.remove(10);
        names.insert(0, "gone_total 1".to_owned());
        let table = Table::of(names);
        let values: Vec<_> = (0..table.names.len() as u64).collect();
        let read = table.read(&values).unwrap();
        // Its fourth, behind what is gone, is the second behind that.
        assert_eq!(read[3], 1);
        assert_eq!(read[13], 0, "nobody told it");
        assert_eq!(table.read(&values[1..]), None);
    }
}
