//! gRPC without our client: any bytes to any method, and the reflection services' words.

use nexin_http::Target;
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

pub(crate) async fn channel(target: &Target) -> Channel {
    let Target::Tcp { host, port } = target else { panic!("{target} is not TCP") };
    Endpoint::from_shared(format!("http://{host}:{port}")).unwrap().connect().await.unwrap()
}

/// Messages are what they are: bytes.
#[derive(Clone, Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; bytes::Buf::remaining(buffer)];
        bytes::Buf::copy_to_slice(buffer, &mut item);
        Ok(Some(item))
    }
}

/// Every message that `method` answers to one message, or why it does not.
pub(crate) async fn call(channel: &Channel, method: &str, message: Vec<u8>) -> Result<Vec<Vec<u8>>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = method.parse().unwrap();
    let messages = futures_util::stream::iter([message]);
    let mut answers = grpc.streaming(Request::new(messages), path, Bytes).await?.into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await? {
        all.push(answer);
    }
    Ok(all)
}

pub(crate) const REFLECTION: [&str; 2] = ["v1", "v1alpha"];

async fn reflect(channel: &Channel, version: &str, field: u32, text: &str) -> Vec<u8> {
    let method = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
    let answers = call(channel, &method, text_field(field, text.as_bytes())).await.unwrap();
    answers.into_iter().next().unwrap()
}

/// The names that `list_services` (7) is answered with: `list_services_response` (6), `service` (1), `name` (1).
pub(crate) async fn services(channel: &Channel, version: &str) -> Vec<String> {
    let answer = reflect(channel, version, 7, "").await;
    let list = fields(&answer, 6).remove(0);
    let names = fields(&list, 1).into_iter().map(|service| fields(&service, 1).remove(0));
    names.map(|name| String::from_utf8(name).unwrap()).collect()
}

/// The file that `file_containing_symbol` (4) is answered with: `file_descriptor_response` (4), `file_descriptor_proto` (1).
pub(crate) async fn file_of(channel: &Channel, version: &str, symbol: &str) -> FileDescriptorProto {
    let answer = reflect(channel, version, 4, symbol).await;
    let file = fields(&fields(&answer, 4).remove(0), 1).remove(0);
    FileDescriptorProto::decode(file.as_slice()).unwrap()
}

fn text_field(number: u32, text: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    prost::encoding::bytes::encode(number, &text.to_vec(), &mut message);
    message
}

/// Every value of a field of text, bytes or a message.
fn fields(message: &[u8], wanted: u32) -> Vec<Vec<u8>> {
    use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};
    let mut rest = message;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (number, wire) = decode_key(&mut rest).unwrap();
        if number == wanted && wire == WireType::LengthDelimited {
            let mut value = Vec::<u8>::new();
            prost::encoding::bytes::merge(wire, &mut value, &mut rest, DecodeContext::default()).unwrap();
            found.push(value);
        } else {
            skip_field(wire, number, &mut rest, DecodeContext::default()).unwrap();
        }
    }
    found
}
