//! What an expression of the sources says: the texts that it may become, followed through bindings, branches, constants and
//! functions of the same file.

use proc_macro2::TokenStream;
use quote::ToTokens;
use std::collections::BTreeMap;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Block, Expr, ExprMacro, Lit, Pat, Stmt, Token};

/// One of the texts that an expression may be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Text {
    /// Written here, with what is filled in in braces.
    Written(String),
    /// Made elsewhere: the expression.
    HandedOn(String),
}

/// What names stand for.
#[derive(Default, Clone)]
pub(crate) struct Names {
    /// With the place in a tuple where the name is bound to one.
    bound: BTreeMap<String, Vec<(Expr, Option<usize>)>>,
    /// Bodies of functions of the file.
    functions: BTreeMap<String, Block>,
}

/// Deeper, and a name stands for itself.
const DEEPEST: usize = 8;

impl Names {
    /// Constants and functions of a file.
    pub(crate) fn of_file(file: &syn::File) -> Names {
        let mut names = Names::default();
        names.visit_file(file);
        // Only what a whole file sees.
        names
            .bound
            .retain(|name, _| name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        names
    }

    /// The same with the bindings of a function.
    pub(crate) fn within(&self, block: &Block) -> Names {
        let mut names = self.clone();
        names.visit_block(block);
        names
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.bound.contains_key(name)
    }

    /// Every text that `expression` may become.
    pub(crate) fn texts(&self, expression: &Expr) -> Vec<Text> {
        let mut texts = Vec::new();
        self.collect(expression, DEEPEST, &mut texts);
        texts.sort();
        texts.dedup();
        texts
    }

    fn collect(&self, expression: &Expr, depth: usize, texts: &mut Vec<Text>) {
        let handed_on = || Text::HandedOn(shown(expression));
        let Some(deeper) = depth.checked_sub(1) else { return texts.push(handed_on()) };
        match expression {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => texts.push(Text::Written(text.value())),
                _ => texts.push(handed_on()),
            },
            Expr::Macro(it) => match template(it) {
                Some(text) => texts.push(Text::Written(text)),
                None => texts.push(handed_on()),
            },
            Expr::Reference(it) => self.collect(&it.expr, deeper, texts),
            Expr::Paren(it) => self.collect(&it.expr, deeper, texts),
            Expr::Block(it) => self.last(&it.block, deeper, texts),
            Expr::If(it) => {
                self.last(&it.then_branch, deeper, texts);
                if let Some((_, otherwise)) = &it.else_branch {
                    self.collect(otherwise, deeper, texts);
                }
            }
            Expr::Match(it) => it.arms.iter().for_each(|arm| self.collect(&arm.body, deeper, texts)),
            Expr::MethodCall(it) if PLAIN.contains(&it.method.to_string().as_str()) => {
                self.collect(&it.receiver, deeper, texts);
            }
            Expr::Call(it) if shown(&it.func) == "Some" || shown(&it.func) == "String::from" => {
                it.args.iter().for_each(|argument| self.collect(argument, deeper, texts));
            }
            Expr::Call(it) => match self.functions.get(&shown(&it.func)) {
                Some(body) => self.within(body).last(body, deeper, texts),
                None => texts.push(handed_on()),
            },
            Expr::Path(it) => match it.path.get_ident().and_then(|name| self.bound.get(&name.to_string())) {
                Some(bound) => {
                    // The nearest binding above is the one that is meant; of a file's constants there is one.
                    let line = |expression: &Expr| expression.span().start().line;
                    let above = bound.iter().filter(|(bound, _)| line(bound) <= line(expression));
                    let nearest = above.max_by_key(|(bound, _)| line(bound)).or(bound.first());
                    for part in nearest.into_iter().flat_map(|(bound, place)| projected(bound, *place)) {
                        self.collect(part, deeper, texts);
                    }
                }
                None => texts.push(handed_on()),
            },
            // A branch that ends the function becomes no text.
            Expr::Return(_) | Expr::Continue(_) | Expr::Break(_) => {}
            _ => texts.push(handed_on()),
        }
    }

    fn last(&self, block: &Block, depth: usize, texts: &mut Vec<Text>) {
        if let Some(Stmt::Expr(expression, None)) = block.stmts.last() {
            self.collect(expression, depth, texts);
        }
    }

    fn bind(&mut self, pattern: &Pat, expression: &Expr, place: Option<usize>) {
        match pattern {
            Pat::Ident(it) => {
                self.bound.entry(it.ident.to_string()).or_default().push((expression.clone(), place));
            }
            Pat::Type(it) => self.bind(&it.pat, expression, place),
            Pat::Tuple(it) if place.is_none() => {
                for (index, part) in it.elems.iter().enumerate() {
                    self.bind(part, expression, Some(index));
                }
            }
            _ => {}
        }
    }
}

/// Methods that leave a text as it is.
const PLAIN: [&str; 7] = ["to_owned", "into", "to_string", "clone", "as_str", "as_deref", "map_err"];

impl<'ast> Visit<'ast> for Names {
    fn visit_local(&mut self, local: &'ast syn::Local) {
        if let Some(init) = &local.init {
            self.bind(&local.pat, &init.expr, None);
        }
        syn::visit::visit_local(self, local);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.bound.entry(item.ident.to_string()).or_default().push(((*item.expr).clone(), None));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.functions.insert(item.sig.ident.to_string(), (*item.block).clone());
        syn::visit::visit_item_fn(self, item);
    }
}

/// The parts of an expression that a name in a tuple pattern is bound to.
fn projected(expression: &Expr, place: Option<usize>) -> Vec<&Expr> {
    let Some(index) = place else { return vec![expression] };
    let last = |block: &'_ Block| match block.stmts.last() {
        Some(Stmt::Expr(expression, None)) => Some(expression.clone()),
        _ => None,
    };
    match expression {
        Expr::Tuple(it) => it.elems.iter().nth(index).into_iter().collect(),
        Expr::Paren(it) => projected(&it.expr, place),
        Expr::Match(it) => it.arms.iter().flat_map(|arm| projected(&arm.body, place)).collect(),
        Expr::If(it) => {
            let then = it
                .then_branch
                .stmts
                .last()
                .and_then(|it| if let Stmt::Expr(it, None) = it { Some(it) } else { None });
            let otherwise = it.else_branch.as_ref().map(|(_, otherwise)| &**otherwise);
            then.into_iter().chain(otherwise).flat_map(|it| projected(it, place)).collect()
        }
        Expr::Block(it) if last(&it.block).is_some() => match it.block.stmts.last() {
            Some(Stmt::Expr(it, None)) => projected(it, place),
            _ => Vec::new(),
        },
        Expr::Return(_) | Expr::Continue(_) => Vec::new(),
        other => vec![other],
    }
}

/// The text of `format!`, `concat!` and the like, with each argument in the place where it is filled in.
fn template(it: &ExprMacro) -> Option<String> {
    let name = it.mac.path.segments.last()?.ident.to_string();
    if !["format", "concat"].contains(&name.as_str()) {
        return None;
    }
    let arguments = arguments(it.mac.tokens.clone())?;
    filled(&arguments)
}

/// Of an attribute or a macro.
pub(crate) fn arguments(tokens: TokenStream) -> Option<Vec<Expr>> {
    let parser = Punctuated::<Expr, Token![,]>::parse_terminated;
    parser.parse2(tokens).ok().map(|all| all.into_iter().collect())
}

/// A template with its arguments in it.
pub(crate) fn filled(arguments: &[Expr]) -> Option<String> {
    let Some(Expr::Lit(literal)) = arguments.first() else { return None };
    let Lit::Str(template) = &literal.lit else { return None };
    let mut rest = arguments[1..].iter();
    let template = template.value();
    let mut characters = template.chars().peekable();
    let mut text = String::new();
    while let Some(character) = characters.next() {
        text.push(character);
        if character == '{' && characters.peek() != Some(&'{') {
            let inside: String = std::iter::from_fn(|| characters.next_if(|it| *it != '}')).collect();
            let anonymous = inside.is_empty() || inside.starts_with(':');
            if anonymous && let Some(argument) = rest.next() {
                text.push_str(&shown(argument));
            }
            text.push_str(&inside);
        } else if ['{', '}'].contains(&character) && characters.peek() == Some(&character) {
            // Doubled: the brace itself.
            text.extend(characters.next());
        }
    }
    Some(text)
}

/// An expression as it is written, nearly.
pub(crate) fn shown(tokens: &impl ToTokens) -> String {
    let mut text = tokens.to_token_stream().to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    for (spaced, tight) in [
        (" :: ", "::"),
        (" . ", "."),
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
        (" ,", ","),
        ("& ", "&"),
        (" !", "!"),
        (" ?", "?"),
        ("| ", "|"),
        (" ;", ";"),
        (" [", "["),
        ("[ ", "["),
        (" ]", "]"),
    ] {
        text = text.replace(spaced, tight);
    }
    text
}
