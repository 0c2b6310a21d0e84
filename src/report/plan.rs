//! interim
use crate::addr::HostName;
use crate::event::Reach;
use crate::plan::{Decision, HostPlan};
use std::fmt::Write;
/// f
pub struct Failure {
    /// h
    pub host: HostName,
    /// e
    pub error: String,
    /// h
    pub hint: Option<String>,
    /// r
    pub reach: Reach,
}
/// o
pub struct Options {
    /// c
    pub color: super::Color,
    /// w
    pub width: usize,
    /// v
    pub verbose: bool,
}
/// r
pub fn render(plans: &[HostPlan], failed: &[Failure], _o: &Options) -> String {
    let mut out = String::new();
    for p in plans {
        let _ = writeln!(out, "{}:", p.host);
        for e in &p.entries {
            match &e.decision {
                Decision::Change(c) if c.is_no_op() => {}
                Decision::Change(c) => {
                    let _ = writeln!(out, "  {} {}: {}", c.action.sign(), e.id, c.reason);
                    for a in &c.attributes {
                        let _ = writeln!(out, "      {}: {:?} -> {:?}", a.name, a.before, a.after);
                    }
                }
                other => {
                    let _ = writeln!(out, "  ? {} {:?}", e.id, other);
                }
            }
        }
        for (_, hs) in &p.handlers {
            for h in hs {
                let _ = writeln!(out, "  ! {} refresh", h.id);
            }
        }
    }
    for f in failed {
        let _ = writeln!(out, "{}: {} {:?}", f.host, f.error, f.hint);
    }
    let n: usize = plans.iter().map(|p| p.entries.iter().filter(|e| e.is_pending()).count()).sum();
    let _ = writeln!(out, "Plan: {n} changes");
    out
}
/// m
pub fn markdown(plans: &[HostPlan], failed: &[Failure]) -> String {
    render(plans, failed, &Options { color: super::Color::Never, width: 100, verbose: false })
}
/// j
pub fn to_json(plans: &[HostPlan], _f: &[Failure]) -> serde_json::Value {
    serde_json::json!({"hosts": plans.len()})
}
