//! The head of a file of weights in the GGUF format (ggml `docs/gguf.md`, version 3): metadata of the llama architecture
//! and one tensor of as many bytes as are wanted. Enough for a server to take it in, list and pull it; not to answer
//! with it, because a whole network is not there.

const VERSION: u32 = 3;
const ALIGNMENT: usize = 32;
/// Types of metadata.
const U32: u32 = 4;
const I32: u32 = 5;
const F32: u32 = 6;
const STRING: u32 = 8;
const ARRAY: u32 = 9;
/// Type of a tensor: one byte an element.
const I8: u32 = 24;

enum Value {
    Number(u32),
    Fraction(f32),
    Text(&'static str),
    Texts(&'static [&'static str]),
    Fractions(&'static [f32]),
    Kinds(&'static [i32]),
}

/// The head of a file of `total` bytes, its end aligned; what follows is the tensor. A head of embeddings has the key by
/// which servers tell them.
#[must_use]
pub fn head(total: u64, embeds: bool) -> Vec<u8> {
    // The length of the tensor is a field of fixed size: the head's length does not depend on it.
    let length = bytes(0, embeds).len() as u64;
    bytes(total.saturating_sub(length), embeds)
}

fn metadata(embeds: bool) -> Vec<(&'static str, Value)> {
    let mut metadata = vec![
        ("general.architecture", Value::Text("llama")),
        ("general.name", Value::Text("stand-in")),
        ("general.file_type", Value::Number(0)),
        ("llama.block_count", Value::Number(1)),
        ("llama.context_length", Value::Number(128)),
        ("llama.embedding_length", Value::Number(32)),
        ("llama.feed_forward_length", Value::Number(32)),
        ("llama.attention.head_count", Value::Number(1)),
        ("llama.attention.head_count_kv", Value::Number(1)),
        ("llama.attention.layer_norm_rms_epsilon", Value::Fraction(1e-5)),
        ("llama.rope.dimension_count", Value::Number(32)),
        ("tokenizer.ggml.model", Value::Text("llama")),
        ("tokenizer.ggml.tokens", Value::Texts(&["<unk>", "<s>", "</s>", "a"])),
        ("tokenizer.ggml.scores", Value::Fractions(&[0.0, 0.0, 0.0, 0.0])),
        ("tokenizer.ggml.token_type", Value::Kinds(&[2, 3, 3, 1])),
    ];
    if embeds {
        metadata.push(("llama.pooling_type", Value::Number(1)));
    }
    metadata
}

fn bytes(tensor: u64, embeds: bool) -> Vec<u8> {
    let metadata = metadata(embeds);
    let mut head = Vec::from(*b"GGUF");
    head.extend(VERSION.to_le_bytes());
    head.extend(1_u64.to_le_bytes());
    head.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut head, key);
        write(&mut head, &value);
    }
    text(&mut head, "token_embd.weight");
    head.extend(1_u32.to_le_bytes());
    head.extend(tensor.to_le_bytes());
    head.extend(I8.to_le_bytes());
    head.extend(0_u64.to_le_bytes());
    head.resize(head.len().next_multiple_of(ALIGNMENT), 0);
    head
}

fn text(head: &mut Vec<u8>, text: &str) {
    head.extend((text.len() as u64).to_le_bytes());
    head.extend(text.as_bytes());
}

fn array(head: &mut Vec<u8>, kind: u32, length: usize) {
    head.extend(ARRAY.to_le_bytes());
    head.extend(kind.to_le_bytes());
    head.extend((length as u64).to_le_bytes());
}

fn write(head: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Number(number) => {
            head.extend(U32.to_le_bytes());
            head.extend(number.to_le_bytes());
        }
        Value::Fraction(fraction) => {
            head.extend(F32.to_le_bytes());
            head.extend(fraction.to_le_bytes());
        }
        Value::Text(string) => {
            head.extend(STRING.to_le_bytes());
            text(head, string);
        }
        Value::Texts(strings) => {
            array(head, STRING, strings.len());
            strings.iter().for_each(|string| text(head, string));
        }
        Value::Fractions(fractions) => {
            array(head, F32, fractions.len());
            head.extend(fractions.iter().flat_map(|fraction| fraction.to_le_bytes()));
        }
        Value::Kinds(kinds) => {
            array(head, I32, kinds.len());
            head.extend(kinds.iter().flat_map(|kind| kind.to_le_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_says_how_long_the_tensor_is() {
        let head = head(1 << 20, false);
        assert_eq!(head.len() % ALIGNMENT, 0);
        let tensor = ((1_u64 << 20) - head.len() as u64).to_le_bytes();
        assert!(head.windows(8).any(|window| window == tensor));
        assert!(!head.windows(12).any(|window| window == b"pooling_type"));
    }
}
