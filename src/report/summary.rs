//! interim
use crate::addr::{HostName, ResourceAddr};
use crate::event::{Outcome, Reach};
use std::collections::BTreeMap;
/// r
pub fn render(
    o: &BTreeMap<ResourceAddr, Outcome>,
    f: &[(HostName, String, Reach)],
    _c: super::Color,
    _w: usize,
) -> String {
    let mut s = String::new();
    for (a, o) in o {
        if *o != Outcome::Unchanged {
            s.push_str(&format!("{a}: {o:?}\n"));
        }
    }
    for x in f {
        s.push_str(&format!("{x:?}\n"));
    }
    s
}
/// j
pub fn to_json(o: &BTreeMap<ResourceAddr, Outcome>, _f: &[(HostName, String, Reach)]) -> serde_json::Value {
    serde_json::json!({"n": o.len()})
}
/// j
pub fn junit(_o: &BTreeMap<ResourceAddr, Outcome>) -> String {
    String::new()
}
