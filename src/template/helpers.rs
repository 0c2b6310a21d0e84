//! The helpers that templates may use, over lists, text, addresses and other hosts.

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError, RenderErrorReason,
    Renderable, ScopedJson,
};
use ipnet::IpNet;
use serde_json::Value;

use super::Lookup;

/// Names and one-line descriptions, for `explain`.
pub const HELPERS: &[(&str, &str)] = &[
    ("contains LIST ITEM", "whether a list or text contains something"),
    ("eq A B, ne, lt, gt, lte, gte, and, or, not", "comparison and logic"),
    ("host_data NAME", "another host's data"),
    ("hosts SELECTOR", "the list of other hosts' data"),
    ("indent N TEXT", "each line moved to the right"),
    ("join LIST SEPARATOR", "a list as text"),
    ("json VALUE", "a value as JSON"),
    ("lower TEXT, upper TEXT", "a text in lower or upper case"),
    ("netmask CIDR, prefix_of CIDR, network_of CIDR, nth_address CIDR N", "address arithmetic"),
    ("replace TEXT FROM TO", "a text with each occurrence replaced"),
];

fn fail(text: impl Into<String>) -> RenderError {
    RenderErrorReason::Other(text.into()).into()
}

/// Returns a parameter, or an error that names what is missing.
fn param<'a>(helper: &'a Helper<'_>, at: usize) -> Result<&'a Value, RenderError> {
    let param =
        helper.param(at).ok_or_else(|| fail(format!("the helper `{}` needs more parameters", helper.name())))?;
    if param.is_value_missing() {
        let path = param.relative_path().cloned();
        return Err(RenderErrorReason::MissingVariable(path).into());
    }
    Ok(param.value())
}

fn text<'a>(helper: &'a Helper<'_>, at: usize) -> Result<&'a str, RenderError> {
    param(helper, at)?.as_str().ok_or_else(|| fail(format!("parameter {} of `{}` is no text", at + 1, helper.name())))
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A helper that turns its parameters into a value.
struct Compute<F>(F);

impl<F> HelperDef for Compute<F>
where
    F: Fn(&Helper<'_>) -> Result<Value, RenderError> + Send + Sync,
{
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        (self.0)(helper).map(ScopedJson::Derived)
    }
}

/// `if` and `unless`, which in handlebars are silently false for a variable that is not there.
struct Conditional {
    positive: bool,
}

impl HelperDef for Conditional {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc Context,
        render: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let truth = match param(helper, 0)? {
            Value::Null => false,
            Value::Bool(truth) => *truth,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(entries) => !entries.is_empty(),
        };
        let branch = if truth == self.positive { helper.template() } else { helper.inverse() };
        branch.map_or(Ok(()), |template| template.render(registry, context, render, out))
    }
}

pub(super) fn register(registry: &mut Handlebars<'static>, lookup: Lookup) {
    registry.register_helper("if", Box::new(Conditional { positive: true }));
    registry.register_helper("unless", Box::new(Conditional { positive: false }));

    let mut add = |name: &str, compute: fn(&Helper<'_>) -> Result<Value, RenderError>| {
        registry.register_helper(name, Box::new(Compute(compute)));
    };
    add("eq", |h| Ok((param(h, 0)? == param(h, 1)?).into()));
    add("ne", |h| Ok((param(h, 0)? != param(h, 1)?).into()));
    add("join", |h| {
        let list = param(h, 0)?.as_array().ok_or_else(|| fail("the first parameter of `join` is no list"))?;
        let separator = text(h, 1)?;
        Ok(list.iter().map(shown).collect::<Vec<_>>().join(separator).into())
    });
    add("contains", |h| match (param(h, 0)?, param(h, 1)?) {
        (Value::Array(items), item) => Ok(items.contains(item).into()),
        (Value::String(all), Value::String(part)) => Ok(all.contains(part.as_str()).into()),
        (Value::Object(map), Value::String(key)) => Ok(map.contains_key(key).into()),
        _ => Err(fail("`contains` takes a list, a map or a text")),
    });
    add("json", |h| Ok(param(h, 0)?.to_string().into()));
    add("lower", |h| Ok(text(h, 0)?.to_lowercase().into()));
    add("upper", |h| Ok(text(h, 0)?.to_uppercase().into()));
    add("replace", |h| Ok(text(h, 0)?.replace(text(h, 1)?, text(h, 2)?).into()));
    add("indent", |h| {
        let width = param(h, 0)?.as_u64().ok_or_else(|| fail("the first parameter of `indent` is no number"))?;
        let pad = " ".repeat(usize::try_from(width.min(200)).unwrap_or_default());
        let lines: Vec<String> =
            text(h, 1)?.lines().map(|l| if l.is_empty() { String::new() } else { format!("{pad}{l}") }).collect();
        Ok(lines.join("\n").into())
    });
    add("prefix_of", |h| Ok(network(h)?.prefix_len().into()));
    add("netmask", |h| Ok(network(h)?.netmask().to_string().into()));
    add("network_of", |h| Ok(network(h)?.trunc().to_string().into()));
    add("nth_address", |h| {
        let network = network(h)?;
        let nth = param(h, 1)?.as_u64().ok_or_else(|| fail("the second parameter of `nth_address` is no number"))?;
        let start = network.network();
        let address = match start {
            std::net::IpAddr::V4(v4) => {
                let sum = u64::from(u32::from(v4)) + nth;
                u32::try_from(sum).ok().map(|bits| std::net::IpAddr::from(std::net::Ipv4Addr::from(bits)))
            }
            std::net::IpAddr::V6(v6) => {
                u128::from(v6).checked_add(u128::from(nth)).map(|b| std::net::Ipv6Addr::from(b).into())
            }
        };
        let address = address.filter(|a| network.contains(a));
        address.map(|a| a.to_string().into()).ok_or_else(|| fail(format!("{network} has no address number {nth}")))
    });

    let by_selector = lookup.clone();
    let hosts = move |h: &Helper<'_>| by_selector(text(h, 0)?).map_err(fail);
    registry.register_helper("hosts", Box::new(Compute(hosts)));
    let host = move |h: &Helper<'_>| {
        let name = text(h, 0)?;
        let found = lookup(name).map_err(fail)?;
        found.get(0).cloned().ok_or_else(|| fail(format!("there is no host `{name}`")))
    };
    registry.register_helper("host_data", Box::new(Compute(host)));
}

fn network(helper: &Helper<'_>) -> Result<IpNet, RenderError> {
    let cidr = text(helper, 0)?;
    cidr.parse().map_err(|_| fail(format!("`{cidr}` is no network, which is written like 10.0.0.0/24")))
}
