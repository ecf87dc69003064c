//! Finds every message of a source file: texts of error types, faults, refusals, problems, mistakes in node.toml, and notes to
//! a person. A form that it does not know is an offence, not a gap.

use super::text::{Names, Text, arguments, filled, shown};
use proc_macro2::Span;
use std::collections::BTreeMap;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Fields, Pat, Type};

/// What a person can do, as far as the place where the message is made says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hint {
    /// These texts.
    Given(Vec<Text>),
    /// None is given, and one could be.
    Missing,
    /// This form has none: [`node::fault::Hint`] says it for error types, a mistake may do without.
    Elsewhere,
}

/// One message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) file: String,
    pub(crate) line: usize,
    /// `error`, `Fault`, `Problem`, …
    pub(crate) form: String,
    pub(crate) text: Text,
    /// An error type has a cause beside its text.
    pub(crate) has_source: bool,
    pub(crate) hint: Hint,
}

/// Everything that a file says.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) messages: Vec<Message>,
    /// Constructors whose form is not known, by place.
    pub(crate) unreadable: Vec<String>,
    /// Error types, with their place.
    pub(crate) errors: BTreeMap<String, String>,
    /// Types that say what to do: whether they always do, and what.
    pub(crate) hints: BTreeMap<String, (bool, Vec<Text>)>,
    /// Messages that are those of an error, with its own hint.
    pub(crate) from_errors: usize,
}

/// Associated functions of the types of messages that make none.
const NO_CONSTRUCTORS: [&str; 4] = ["hint", "about", "lines", "code"];
const TYPES: [&str; 4] = ["Fault", "Refused", "Problem", "Wrong"];

/// What the file at `path` says.
pub(crate) fn scan(path: &str, source: &str) -> Found {
    let file = syn::parse_file(source).unwrap_or_else(|error| panic!("{path} is not Rust: {error}"));
    let names = Names::of_file(&file);
    let mut scan = Scan { path, names: vec![names], ..Scan::new(path) };
    scan.visit_file(&file);
    // Texts that are given to a function or a closure which makes a message of them.
    let carriers = std::mem::take(&mut scan.carriers);
    let mut parts = Parts { scan: &mut scan, carriers };
    parts.visit_file(&file);
    scan.found.messages.sort_by_key(|message| message.line);
    scan.found
}

/// Functions that make messages of what they are given: by the place of the message among what they are given, that of the
/// hint.
type Carriers = BTreeMap<(String, usize), Option<usize>>;

struct Scan<'a> {
    path: &'a str,
    names: Vec<Names>,
    /// Functions and closures around, by name, with their parameters.
    around: Vec<(String, Vec<String>)>,
    /// The text of the function around: what is done later to a value with a name.
    bodies: Vec<String>,
    /// The name that what is visited gets, and its hint where a method gives one.
    local: Option<String>,
    hint: Option<Vec<Text>>,
    carriers: Carriers,
    found: Found,
}

impl<'a> Scan<'a> {
    fn new(path: &'a str) -> Scan<'a> {
        Scan {
            path,
            names: Vec::new(),
            around: Vec::new(),
            bodies: Vec::new(),
            local: None,
            hint: None,
            carriers: Carriers::new(),
            found: Found::default(),
        }
    }

    fn names(&self) -> &Names {
        self.names.last().expect("the file's own at least")
    }

    fn texts(&self, expression: &Expr) -> Vec<Text> {
        self.names().texts(expression)
    }

    fn add(&mut self, at: Span, form: &str, message: &Expr, hint: &Hint) {
        for text in self.texts(message) {
            self.note_carriers(&text, hint);
            self.push(at, form, text, hint.clone());
        }
    }

    fn push(&mut self, at: Span, form: &str, text: Text, hint: Hint) {
        self.found.messages.push(Message {
            file: self.path.to_owned(),
            line: at.start().line,
            form: form.to_owned(),
            text,
            has_source: false,
            hint,
        });
    }

    /// A parameter that becomes the message, or a part of it.
    fn note_carriers(&mut self, text: &Text, hint: &Hint) {
        let given = match hint {
            Hint::Given(texts) => texts.as_slice(),
            Hint::Missing | Hint::Elsewhere => &[],
        };
        for (name, parameters) in &self.around {
            for (place, parameter) in parameters.iter().enumerate() {
                let is_in = match text {
                    Text::HandedOn(expression) => expression == parameter,
                    Text::Written(template) => {
                        ["}", ":"].iter().any(|end| template.contains(&format!("{{{parameter}{end}")))
                    }
                };
                if is_in && !self.names().has(parameter) {
                    let handed_on = |it: &String| given.contains(&Text::HandedOn(it.clone()));
                    self.carriers.insert((name.clone(), place), parameters.iter().position(handed_on));
                }
            }
        }
    }

    fn optional_hint(&self, hint: &Expr) -> Hint {
        match shown(hint).as_str() {
            "None" | "\"\"" => Hint::Missing,
            _ => Hint::Given(self.texts(hint)),
        }
    }

    /// The hint that a method gives to the value, here or later under its name.
    fn given_hint(&mut self, otherwise: Hint) -> Hint {
        if let Some(texts) = self.hint.take() {
            return Hint::Given(texts);
        }
        let is_given_later = |name: &String| {
            let body = self.bodies.last().map_or("", String::as_str);
            [".hinting(", ".hint(", ".hint_if_any("]
                .iter()
                .any(|method| body.contains(&format!("{name}{method}")))
        };
        match self.local.as_ref().filter(|name| is_given_later(name)) {
            Some(name) => Hint::Given(vec![Text::HandedOn(format!("{name}, later"))]),
            None => otherwise,
        }
    }

    fn call(&mut self, call: &syn::ExprCall) {
        let Expr::Path(function) = &*call.func else { return };
        let segments: Vec<String> = function.path.segments.iter().map(|it| it.ident.to_string()).collect();
        let (kind, function) = match segments.as_slice() {
            [.., kind, function] => (kind.as_str(), function.as_str()),
            _ => return,
        };
        let at = call.span();
        let arguments: Vec<&Expr> = call.args.iter().collect();
        match (kind, function, arguments.as_slice()) {
            ("output", "note", [text]) => {
                let text: &Expr = text;
                self.add(at, "note", text, &Hint::Elsewhere);
            }
            ("Fault", "new", [_, message, hint]) | ("Refused", "new", [_, message, hint]) => {
                let hint = self.optional_hint(hint);
                self.add(at, kind, message, &hint);
            }
            ("Fault", "new", [_, message]) => {
                let hint = self.given_hint(Hint::Missing);
                self.add(at, kind, message, &hint);
            }
            ("Wrong", "new" | "absent", [message]) => {
                let hint = self.given_hint(Hint::Elsewhere);
                self.add(at, kind, message, &hint);
            }
            // A refusal of bootstrap's plan; its step shows it after the volume's name.
            ("Plan", "refuse", [_, reason, hint]) => {
                let hint = self.optional_hint(hint);
                self.add(at, "refusal", reason, &hint);
            }
            // What is wrong with user data, said after "user data".
            ("UserData", "Unreadable", [reason]) | ("Refused", "because", [reason]) => {
                self.add(at, "part of user data", reason, &Hint::Elsewhere);
            }
            ("Fault" | "Problem", "from_error", _) | ("Refused", "for_mistakes", _) => {
                self.found.from_errors += 1;
            }
            (kind, function, _) if TYPES.contains(&kind) && !NO_CONSTRUCTORS.contains(&function) => {
                let is_variant = function.starts_with(char::is_uppercase);
                if !is_variant {
                    self.found.unreadable.push(format!("{}:{}: {}", self.path, at.start().line, shown(call)));
                }
            }
            _ => {}
        }
    }

    fn in_function(
        &mut self,
        name: String,
        parameters: Vec<String>,
        block: &syn::Block,
        visit: impl FnOnce(&mut Self),
    ) {
        let names = self.names().within(block);
        self.names.push(names);
        self.around.push((name, parameters));
        self.bodies.push(shown(block));
        visit(self);
        self.bodies.pop();
        self.around.pop();
        self.names.pop();
    }

    fn error_type(&mut self, name: &str, attributes: &[Attribute], fields: &Fields, at: Span) {
        for attribute in attributes.iter().filter(|it| it.path().is_ident("error")) {
            let Ok(list) = attribute.meta.require_list() else { continue };
            let tokens = list.tokens.to_string();
            if tokens == "transparent" {
                continue;
            }
            // `.0` is a field of the error.
            let tokens = tokens.replace(", .", ", self.").replace("(. ", "(self.").replace("(.", "(self.");
            let text = tokens.parse().ok().and_then(arguments).and_then(|it| filled(&it));
            let Some(text) = text else {
                self.found.unreadable.push(format!(
                    "{}:{}: {}",
                    self.path,
                    at.start().line,
                    shown(attribute)
                ));
                continue;
            };
            let has_source = fields.iter().any(|field| {
                let named = field.ident.as_ref().is_some_and(|name| name == "source");
                named
                    || field.attrs.iter().any(|it| it.path().is_ident("source") || it.path().is_ident("from"))
            });
            self.push(at, &format!("error {name}"), Text::Written(text), Hint::Elsewhere);
            if let Some(last) = self.found.messages.last_mut() {
                last.has_source = has_source;
            }
        }
    }

    fn is_error(attributes: &[Attribute]) -> bool {
        attributes.iter().any(|it| it.path().is_ident("derive") && shown(it).contains("thiserror::Error"))
    }
}

fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|it| it.path().is_ident("cfg") && shown(it).contains("(test)"))
}

fn names_of<'p>(patterns: impl Iterator<Item = &'p Pat>) -> Vec<String> {
    let name = |pattern: &Pat| match pattern {
        Pat::Ident(it) => it.ident.to_string(),
        Pat::Type(it) => shown(&it.pat),
        other => shown(other),
    };
    patterns.map(name).collect()
}

impl<'ast> Visit<'ast> for Scan<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_of_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if is_of_tests(&item.attrs) {
            return;
        }
        let parameters = item
            .sig
            .inputs
            .iter()
            .filter_map(|it| if let syn::FnArg::Typed(it) = it { Some(&*it.pat) } else { None });
        self.in_function(item.sig.ident.to_string(), names_of(parameters), &item.block, |scan| {
            visit::visit_item_fn(scan, item);
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        let parameters = item
            .sig
            .inputs
            .iter()
            .filter_map(|it| if let syn::FnArg::Typed(it) = it { Some(&*it.pat) } else { None });
        self.in_function(item.sig.ident.to_string(), names_of(parameters), &item.block, |scan| {
            visit::visit_impl_item_fn(scan, item);
        });
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let of_hint = item
            .trait_
            .as_ref()
            .is_some_and(|(_, path, _)| path.segments.last().is_some_and(|it| it.ident == "Hint"));
        if of_hint && let Type::Path(kind) = &*item.self_ty {
            let mut hints =
                Texts { names: self.names().clone(), texts: Vec::new(), has_none: item.items.is_empty() };
            hints.visit_item_impl(item);
            self.found.hints.insert(shown(kind), (!hints.has_none, hints.texts));
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        if Self::is_error(&item.attrs) {
            self.found
                .errors
                .insert(item.ident.to_string(), format!("{}:{}", self.path, item.span().start().line));
            for variant in &item.variants {
                self.error_type(
                    &format!("{}::{}", item.ident, variant.ident),
                    &variant.attrs,
                    &variant.fields,
                    variant.span(),
                );
            }
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        if Self::is_error(&item.attrs) {
            self.found
                .errors
                .insert(item.ident.to_string(), format!("{}:{}", self.path, item.span().start().line));
            self.error_type(&item.ident.to_string(), &item.attrs, &item.fields, item.span());
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        let closure = local
            .init
            .as_ref()
            .and_then(|init| if let Expr::Closure(it) = &*init.expr { Some(it) } else { None });
        let name = names_of([&local.pat].into_iter()).remove(0);
        match closure {
            Some(closure) => {
                self.around.push((name, names_of(closure.inputs.iter())));
                visit::visit_expr_closure(self, closure);
                self.around.pop();
            }
            None => {
                let before = self.local.replace(name);
                visit::visit_local(self, local);
                self.local = before;
            }
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let method = call.method.to_string();
        if ["hinting", "hint", "hint_if_any"].contains(&method.as_str())
            && let Some(argument) = call.args.first()
        {
            self.hint = Some(self.texts(argument));
            self.visit_expr(&call.receiver);
            self.hint = None;
            self.visit_expr(argument);
            return;
        }
        let given: Vec<&Expr> = call.args.iter().collect();
        let of_plan = match (method.as_str(), given.as_slice()) {
            ("problem", [_, message, hint, _]) if self.path.starts_with("agent/src/models/") => {
                Some((message, hint))
            }
            ("problem", [_, _, message, hint]) => Some((message, hint)),
            _ => None,
        };
        if let Some((message, hint)) = of_plan {
            let hint = self.optional_hint(hint);
            self.add(call.span(), "Problem", message, &hint);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        self.call(call);
        visit::visit_expr_call(self, call);
    }

    /// A value with a message and a hint, whatever its type.
    fn visit_expr_struct(&mut self, value: &'ast syn::ExprStruct) {
        let field = |name: &str| value.fields.iter().find(|it| shown(&it.member) == name).map(|it| &it.expr);
        let kind = value.path.segments.iter().map(|it| it.ident.to_string()).collect::<Vec<_>>().join("::");
        // A type's own constructors hand on what they are given.
        let is_own = self.around.last().is_some_and(|(name, _)| {
            ["new", "hinting", "from_error", "absent", "about"].contains(&name.as_str())
        });
        let is_failure = value.path.segments.iter().any(|it| {
            let name = it.ident.to_string();
            ["Error", "Failure", "Refusal", "Fault", "Problem"].iter().any(|end| name.ends_with(end))
        });
        let is_failure = is_failure || field("hint").is_some();
        let message = field("message").or_else(|| field("reason")).filter(|_| is_failure);
        if let Some(message) = message.filter(|_| !is_own) {
            let hint = match (field("hint"), &value.rest) {
                (Some(hint), _) => self.optional_hint(hint),
                (None, Some(_)) => Hint::Elsewhere,
                (None, None) => Hint::Elsewhere,
            };
            self.add(value.span(), &kind, message, &hint);
        }
        visit::visit_expr_struct(self, value);
    }

    fn visit_macro(&mut self, it: &'ast syn::Macro) {
        if let Some(inner) = arguments(it.tokens.clone()) {
            let found = inner.iter().any(|expression| {
                TYPES.iter().any(|kind| shown(expression).contains(&format!("{kind}::new(")))
            });
            for expression in inner.iter().filter(|_| found) {
                // They live as long as this visit.
                let mut within = Scan {
                    names: self.names.clone(),
                    around: self.around.clone(),
                    bodies: self.bodies.clone(),
                    ..Scan::new(self.path)
                };
                within.visit_expr(expression);
                self.found.messages.append(&mut within.found.messages);
            }
        } else {
            let text = shown(&it.tokens);
            if TYPES.iter().any(|kind| {
                text.contains(&format!("{kind}::new(")) || text.contains(&format!("{kind} {{ code"))
            }) {
                self.found.unreadable.push(format!(
                    "{}:{}: {}",
                    self.path,
                    it.span().start().line,
                    shown(&it.path)
                ));
            }
        }
    }
}

/// What is given to those who make messages of it.
struct Parts<'s, 'a> {
    scan: &'s mut Scan<'a>,
    carriers: Carriers,
}

impl Parts<'_, '_> {
    fn take(&mut self, name: &str, arguments: &[&Expr]) {
        for (place, argument) in arguments.iter().enumerate() {
            let Some(hint) = self.carriers.get(&(name.to_owned(), place)) else { continue };
            let hint = match hint.and_then(|place| arguments.get(place)) {
                Some(hint) => self.scan.optional_hint(hint),
                None => Hint::Elsewhere,
            };
            for text in self.scan.texts(argument) {
                if matches!(text, Text::Written(_)) {
                    self.scan.push(argument.span(), &format!("part of {name}"), text, hint.clone());
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Parts<'_, '_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_of_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_of_tests(&item.attrs) {
            self.scan.names.push(self.scan.names().within(&item.block));
            visit::visit_item_fn(self, item);
            self.scan.names.pop();
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.scan.names.push(self.scan.names().within(&item.block));
        visit::visit_impl_item_fn(self, item);
        self.scan.names.pop();
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let Expr::Path(path) = &*call.func
            && let Some(name) = path.path.segments.last()
        {
            self.take(&name.ident.to_string(), &call.args.iter().collect::<Vec<_>>());
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.take(&call.method.to_string(), &call.args.iter().collect::<Vec<_>>());
        visit::visit_expr_method_call(self, call);
    }
}

/// Texts anywhere in an item, and whether it has a `None`.
struct Texts {
    names: Names,
    texts: Vec<Text>,
    has_none: bool,
}

impl<'ast> Visit<'ast> for Texts {
    fn visit_pat(&mut self, _: &'ast Pat) {}

    fn visit_expr(&mut self, expression: &'ast Expr) {
        match expression {
            Expr::Lit(_) => self
                .texts
                .extend(self.names.texts(expression).into_iter().filter(|it| matches!(it, Text::Written(_)))),
            Expr::Macro(_) => self.texts.extend(self.names.texts(expression)),
            Expr::Path(it) if it.path.is_ident("None") => self.has_none = true,
            other => visit::visit_expr(self, other),
        }
    }
}
