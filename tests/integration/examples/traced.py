import asyncio
import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from sanic_ws import Conn, Publisher

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)


async def main(conn: str) -> None:
    async with Publisher() as publisher:
        with trace.get_tracer("orders").start_as_current_span("order placed"):
            receipt = await publisher.push(Conn(conn), "order_placed", {"order": 7})
    print(receipt.outcome)


asyncio.run(main(sys.argv[1]))
