//! The table of handles against a map: a handle leads to its object or to the
//! error that says why not.

use crate::core::error::Error;
use crate::handle::Table;
use arbitrary::{Arbitrary, Unstructured};
use std::collections::HashMap;

const KIND: u8 = 3;
const PROCESS: u64 = 5;

#[derive(Arbitrary, Debug)]
enum Step {
    Insert(u16),
    Get(u8),
    Remove(u8),
    /// So many that come and go.
    Churn(u8),
    /// Of one that was given out, with other bits.
    Near(u8, u8),
    Number(u64),
}

pub fn run(data: &[u8]) {
    let Ok(steps) = Vec::<Step>::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let table: Table<u16> = Table::new(KIND, PROCESS);
    // All that were given out, and what they lead to.
    let mut all: Vec<u64> = Vec::new();
    let mut objects: HashMap<u64, Option<u16>> = HashMap::new();
    let mut live = 0;
    for step in steps {
        match step {
            Step::Insert(object) => {
                let handle = table.insert(object).expect("room");
                assert!(handle as i64 > 0);
                assert_eq!(
                    objects.insert(handle, Some(object)),
                    None,
                    "given out twice"
                );
                all.push(handle);
                live += 1;
            }
            Step::Churn(times) => {
                for object in 0..u16::from(times) {
                    let handle = table.insert(object).expect("room");
                    assert_eq!(table.remove(handle), Ok(object));
                    assert_eq!(objects.insert(handle, None), None, "given out twice");
                    all.push(handle);
                }
            }
            Step::Get(which) => {
                let Some(handle) = pick(&all, which) else {
                    continue;
                };
                check(&table, &objects, handle);
            }
            Step::Remove(which) => {
                let Some(handle) = pick(&all, which) else {
                    continue;
                };
                let object = objects.insert(handle, None).flatten();
                assert_eq!(table.remove(handle), object.ok_or(Error::HandleStale));
                live -= usize::from(object.is_some());
            }
            Step::Near(which, bit) => {
                let Some(handle) = pick(&all, which) else {
                    continue;
                };
                check(&table, &objects, handle ^ 1 << (bit & 63));
            }
            Step::Number(handle) => check(&table, &objects, handle),
        }
        assert_eq!(table.live(), live);
    }
    all.iter()
        .for_each(|handle| check(&table, &objects, *handle));
}

fn pick(all: &[u64], which: u8) -> Option<u64> {
    // The newest are the more interesting ones.
    let back = usize::from(which) % all.len().max(1);
    all.iter().rev().nth(back).copied()
}

fn check(table: &Table<u16>, objects: &HashMap<u64, Option<u16>>, handle: u64) {
    let expected = match objects.get(&handle) {
        Some(object) => object.ok_or(Error::HandleStale),
        None if handle == 0 || handle >> 63 != 0 || handle << 16 >> 48 == 0 => {
            Err(Error::HandleInvalid)
        }
        None if (handle >> 56) as u8 != KIND => Err(Error::HandleKind),
        None if u64::from((handle >> 48) as u8) != PROCESS => Err(Error::HandleForked),
        None => Err(Error::HandleInvalid),
    };
    assert_eq!(table.get(handle), expected, "{handle:x}");
}
