"""What Livepeer's nodes say to one another, as values: `wire/proto/net.proto` field by field.

Nothing here is ours to change. Numbers of enumerations are plain integers, as unknown ones must pass.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from shoal.wire.protobuf import Field, Kind, Message


class PingPong(Message, frozen=True):
    """Are you there? Yes."""

    value: Annotated[bytes, Field(1, Kind.BYTES)] = b""


class AuthToken(Message, frozen=True):
    """What a session is known by."""

    token: Annotated[bytes, Field(1, Kind.BYTES)] = b""
    session_id: Annotated[str, Field(2, Kind.STRING)] = ""
    expiration: Annotated[int, Field(3, Kind.INT64)] = 0


class EndTranscodingSessionRequest(Message, frozen=True):
    """A session is over."""

    auth_token: Annotated[AuthToken | None, Field(1, Kind.MESSAGE)] = None


class EndTranscodingSessionResponse(Message, frozen=True):
    """So it is."""


class ModelConstraint(Message, frozen=True):
    """What is known of one model."""

    warm: Annotated[bool, Field(1, Kind.BOOL)] = False
    capacity: Annotated[int, Field(2, Kind.UINT32)] = 0
    runner_version: Annotated[str, Field(3, Kind.STRING, "runnerVersion")] = ""
    capacity_in_use: Annotated[int, Field(4, Kind.UINT32, "capacityInUse")] = 0


class CapabilityConstraints(Message, frozen=True):
    """The models of one capability."""

    models: Annotated[dict[str, ModelConstraint], Field(1, Kind.MESSAGE, key=Kind.STRING)] = field(
        default_factory=dict
    )


class Constraints(Message, frozen=True):
    """Which versions will do, and which models each capability has."""

    min_version: Annotated[str, Field(1, Kind.STRING, "minVersion")] = ""
    per_capability: Annotated[
        dict[int, CapabilityConstraints], Field(2, Kind.MESSAGE, "PerCapability", key=Kind.UINT32)
    ] = field(default_factory=dict)


class Capabilities(Message, frozen=True):
    """What a node can do, or what somebody needs."""

    bitstring: Annotated[tuple[int, ...], Field(1, Kind.UINT64, repeated=True)] = ()
    mandatories: Annotated[tuple[int, ...], Field(2, Kind.UINT64, repeated=True)] = ()
    capacities: Annotated[dict[int, int], Field(3, Kind.UINT32, key=Kind.UINT32)] = field(
        default_factory=dict
    )
    version: Annotated[str, Field(4, Kind.STRING)] = ""
    constraints: Annotated[Constraints | None, Field(5, Kind.MESSAGE)] = None


class OrchestratorRequest(Message, frozen=True):
    """A gateway asks what an orchestrator offers, and says who it is."""

    address: Annotated[bytes, Field(1, Kind.BYTES)] = b""
    sig: Annotated[bytes, Field(2, Kind.BYTES)] = b""
    capabilities: Annotated[Capabilities | None, Field(3, Kind.MESSAGE)] = None
    ignore_capacity_check: Annotated[bool, Field(4, Kind.BOOL, "ignoreCapacityCheck")] = False


class S3OSInfo(Message, frozen=True):
    """A place of the S3 kind."""

    host: Annotated[str, Field(1, Kind.STRING)] = ""
    key: Annotated[str, Field(2, Kind.STRING)] = ""
    policy: Annotated[str, Field(3, Kind.STRING)] = ""
    signature: Annotated[str, Field(4, Kind.STRING)] = ""
    credential: Annotated[str, Field(5, Kind.STRING)] = ""
    x_amz_date: Annotated[str, Field(6, Kind.STRING, "xAmzDate")] = ""


class OSInfo(Message, frozen=True):
    """A place to store things, of one kind (`StorageType`)."""

    storage_type: Annotated[int, Field(1, Kind.ENUM, "storageType")] = 0
    s3info: Annotated[S3OSInfo | None, Field(16, Kind.MESSAGE)] = None


class PriceInfo(Message, frozen=True):
    """So many wei for so many units, of all work or of one capability and model."""

    price_per_unit: Annotated[int, Field(1, Kind.INT64, "pricePerUnit")] = 0
    pixels_per_unit: Annotated[int, Field(2, Kind.INT64, "pixelsPerUnit")] = 0
    capability: Annotated[int, Field(3, Kind.UINT32)] = 0
    constraint: Annotated[str, Field(4, Kind.STRING)] = ""


class TicketExpirationParams(Message, frozen=True):
    """The round that tickets were made in."""

    creation_round: Annotated[int, Field(1, Kind.INT64)] = 0
    creation_round_block_hash: Annotated[bytes, Field(2, Kind.BYTES)] = b""


class TicketParams(Message, frozen=True):
    """What tickets must be like. Amounts are big-endian without leading zeros."""

    recipient: Annotated[bytes, Field(1, Kind.BYTES)] = b""
    face_value: Annotated[bytes, Field(2, Kind.BYTES)] = b""
    win_prob: Annotated[bytes, Field(3, Kind.BYTES)] = b""
    recipient_rand_hash: Annotated[bytes, Field(4, Kind.BYTES)] = b""
    seed: Annotated[bytes, Field(5, Kind.BYTES)] = b""
    expiration_block: Annotated[bytes, Field(6, Kind.BYTES)] = b""
    expiration_params: Annotated[TicketExpirationParams | None, Field(7, Kind.MESSAGE)] = None


class GPUComputeInfo(Message, frozen=True):
    """One graphics card."""

    id: Annotated[str, Field(1, Kind.STRING)] = ""
    name: Annotated[str, Field(2, Kind.STRING)] = ""
    major: Annotated[int, Field(4, Kind.UINT32)] = 0
    minor: Annotated[int, Field(5, Kind.UINT32)] = 0
    memory_free: Annotated[int, Field(6, Kind.INT64)] = 0
    memory_total: Annotated[int, Field(7, Kind.INT64)] = 0


class HardwareInformation(Message, frozen=True):
    """What a model runs on."""

    pipeline: Annotated[str, Field(1, Kind.STRING)] = ""
    model_id: Annotated[str, Field(2, Kind.STRING)] = ""
    gpu_info: Annotated[dict[str, GPUComputeInfo], Field(3, Kind.MESSAGE, key=Kind.STRING)] = field(
        default_factory=dict
    )


class OrchestratorInfo(Message, frozen=True):
    """What an orchestrator offers: where, at what price, and what tickets it takes."""

    transcoder: Annotated[str, Field(1, Kind.STRING)] = ""
    ticket_params: Annotated[TicketParams | None, Field(2, Kind.MESSAGE)] = None
    price_info: Annotated[PriceInfo | None, Field(3, Kind.MESSAGE)] = None
    address: Annotated[bytes, Field(4, Kind.BYTES)] = b""
    capabilities: Annotated[Capabilities | None, Field(5, Kind.MESSAGE)] = None
    auth_token: Annotated[AuthToken | None, Field(6, Kind.MESSAGE)] = None
    hardware: Annotated[tuple[HardwareInformation, ...], Field(7, Kind.MESSAGE, repeated=True)] = ()
    storage: Annotated[tuple[OSInfo, ...], Field(32, Kind.MESSAGE, repeated=True)] = ()
    capabilities_prices: Annotated[tuple[PriceInfo, ...], Field(33, Kind.MESSAGE, repeated=True)] = ()
    nodes: Annotated[tuple[str, ...], Field(34, Kind.STRING, repeated=True)] = ()


class VideoProfile(Message, frozen=True):
    """How a video is to come out."""

    name: Annotated[str, Field(16, Kind.STRING)] = ""
    width: Annotated[int, Field(17, Kind.INT32)] = 0
    height: Annotated[int, Field(18, Kind.INT32)] = 0
    bitrate: Annotated[int, Field(19, Kind.INT32)] = 0
    fps: Annotated[int, Field(20, Kind.UINT32)] = 0
    format: Annotated[int, Field(21, Kind.ENUM)] = 0
    fps_den: Annotated[int, Field(22, Kind.UINT32, "fpsDen")] = 0
    profile: Annotated[int, Field(23, Kind.ENUM)] = 0
    gop: Annotated[int, Field(24, Kind.INT32)] = 0
    encoder: Annotated[int, Field(25, Kind.ENUM)] = 0
    color_depth: Annotated[int, Field(26, Kind.INT32, "colorDepth")] = 0
    chroma_format: Annotated[int, Field(27, Kind.ENUM, "chromaFormat")] = 0
    quality: Annotated[int, Field(28, Kind.UINT32)] = 0


class SegParameters(Message, frozen=True):
    """Which part of a segment."""

    from_: Annotated[int, Field(1, Kind.UINT64, "from")] = 0
    to: Annotated[int, Field(2, Kind.UINT64)] = 0


class SegData(Message, frozen=True):
    """What is said beside a segment of video."""

    manifest_id: Annotated[bytes, Field(1, Kind.BYTES, "manifestId")] = b""
    seq: Annotated[int, Field(2, Kind.INT64)] = 0
    hash: Annotated[bytes, Field(3, Kind.BYTES)] = b""
    profiles: Annotated[bytes, Field(4, Kind.BYTES)] = b""
    sig: Annotated[bytes, Field(5, Kind.BYTES)] = b""
    duration: Annotated[int, Field(6, Kind.INT32)] = 0
    capabilities: Annotated[Capabilities | None, Field(7, Kind.MESSAGE)] = None
    auth_token: Annotated[AuthToken | None, Field(8, Kind.MESSAGE)] = None
    calc_perceptual_hash: Annotated[bool, Field(10, Kind.BOOL)] = False
    storage: Annotated[tuple[OSInfo, ...], Field(32, Kind.MESSAGE, repeated=True)] = ()
    full_profiles: Annotated[
        tuple[VideoProfile, ...], Field(33, Kind.MESSAGE, "fullProfiles", repeated=True)
    ] = ()
    full_profiles2: Annotated[
        tuple[VideoProfile, ...], Field(34, Kind.MESSAGE, "fullProfiles2", repeated=True)
    ] = ()
    full_profiles3: Annotated[
        tuple[VideoProfile, ...], Field(35, Kind.MESSAGE, "fullProfiles3", repeated=True)
    ] = ()
    segment_parameters: Annotated[SegParameters | None, Field(37, Kind.MESSAGE)] = None
    force_session_reinit: Annotated[bool, Field(38, Kind.BOOL, "ForceSessionReinit")] = False


class TranscodedSegmentData(Message, frozen=True):
    """One video that came out."""

    url: Annotated[str, Field(1, Kind.STRING)] = ""
    pixels: Annotated[int, Field(2, Kind.INT64)] = 0
    perceptual_hash_url: Annotated[str, Field(3, Kind.STRING)] = ""


class TranscodeData(Message, frozen=True):
    """All that came out of a segment."""

    segments: Annotated[tuple[TranscodedSegmentData, ...], Field(1, Kind.MESSAGE, repeated=True)] = ()
    sig: Annotated[bytes, Field(2, Kind.BYTES)] = b""


class TranscodeResult(Message, frozen=True):
    """What came of a segment: an error or data."""

    seq: Annotated[int, Field(1, Kind.INT64)] = 0
    error: Annotated[str | None, Field(2, Kind.STRING, optional=True)] = None
    data: Annotated[TranscodeData | None, Field(3, Kind.MESSAGE, optional=True)] = None
    info: Annotated[OrchestratorInfo | None, Field(16, Kind.MESSAGE)] = None


class PaymentResult(Message, frozen=True):
    """What is offered after a payment."""

    info: Annotated[OrchestratorInfo | None, Field(16, Kind.MESSAGE)] = None


class RegisterRequest(Message, frozen=True):
    """A transcoder makes itself known."""

    secret: Annotated[str, Field(1, Kind.STRING)] = ""
    capacity: Annotated[int, Field(2, Kind.INT64)] = 0
    capabilities: Annotated[Capabilities | None, Field(3, Kind.MESSAGE)] = None


class NotifySegment(Message, frozen=True):
    """Work for a transcoder."""

    url: Annotated[str, Field(1, Kind.STRING)] = ""
    seg_data: Annotated[SegData | None, Field(3, Kind.MESSAGE, "segData")] = None
    task_id: Annotated[int, Field(16, Kind.INT64, "taskId")] = 0
    profiles: Annotated[bytes, Field(17, Kind.BYTES)] = b""
    orch_id: Annotated[str, Field(18, Kind.STRING, "orchId")] = ""


class RegisterAIWorkerRequest(Message, frozen=True):
    """An AI worker makes itself known."""

    secret: Annotated[str, Field(1, Kind.STRING)] = ""
    capabilities: Annotated[Capabilities | None, Field(2, Kind.MESSAGE)] = None
    hardware: Annotated[tuple[HardwareInformation, ...], Field(3, Kind.MESSAGE, repeated=True)] = ()


class AIJobData(Message, frozen=True):
    """A job of a pipeline, as JSON."""

    pipeline: Annotated[str, Field(1, Kind.STRING)] = ""
    request_data: Annotated[bytes, Field(2, Kind.BYTES, "requestData")] = b""


class NotifyAIJob(Message, frozen=True):
    """Work for an AI worker."""

    ai_job_data: Annotated[AIJobData | None, Field(1, Kind.MESSAGE, "AIJobData")] = None
    task_id: Annotated[int, Field(2, Kind.INT64, "taskId")] = 0


class TicketSenderParams(Message, frozen=True):
    """What makes a ticket of parameters: its nonce and signature."""

    sender_nonce: Annotated[int, Field(1, Kind.UINT32)] = 0
    sig: Annotated[bytes, Field(2, Kind.BYTES)] = b""


class Payment(Message, frozen=True):
    """Tickets of one sender under one set of parameters, and the price that it expects."""

    ticket_params: Annotated[TicketParams | None, Field(1, Kind.MESSAGE)] = None
    sender: Annotated[bytes, Field(2, Kind.BYTES)] = b""
    expiration_params: Annotated[TicketExpirationParams | None, Field(3, Kind.MESSAGE)] = None
    ticket_sender_params: Annotated[
        tuple[TicketSenderParams, ...], Field(4, Kind.MESSAGE, repeated=True)
    ] = ()
    expected_price: Annotated[PriceInfo | None, Field(5, Kind.MESSAGE)] = None
