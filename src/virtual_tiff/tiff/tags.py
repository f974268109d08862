"""TIFF field types and tags: numbers, names, allowed types, defaults, and where each is defined.

The origins: "TIFF 6" and its sections 1 to 23; "TN2" is the JPEG technical note 2 of 1995; "PM6" the
PageMaker 6 technical notes of 1995; "PS" the Photoshop technical notes of 2002; "FX" is RFC 2301; "EP" is
TIFF/EP (ISO 12234-2); "DNG" is Adobe DNG 1.7; the others name the program or the standard that brought the
tag.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Self

import numpy as np

from virtual_tiff import errors


class TagType(IntEnum):
    """Field types: TIFF 6 section 2, the PageMaker 6 notes (IFD), and BigTIFF (LONG8, SLONG8, IFD8)."""

    BYTE = 1
    ASCII = 2
    SHORT = 3
    LONG = 4
    RATIONAL = 5
    SBYTE = 6
    UNDEFINED = 7
    SSHORT = 8
    SLONG = 9
    SRATIONAL = 10
    FLOAT = 11
    DOUBLE = 12
    IFD = 13
    LONG8 = 16
    SLONG8 = 17
    IFD8 = 18


_DTYPES: Final = {
    TagType.BYTE: ("u1", 1),
    TagType.ASCII: ("u1", 1),
    TagType.SHORT: ("u2", 1),
    TagType.LONG: ("u4", 1),
    TagType.RATIONAL: ("u4", 2),
    TagType.SBYTE: ("i1", 1),
    TagType.UNDEFINED: ("u1", 1),
    TagType.SSHORT: ("i2", 1),
    TagType.SLONG: ("i4", 1),
    TagType.SRATIONAL: ("i4", 2),
    TagType.FLOAT: ("f4", 1),
    TagType.DOUBLE: ("f8", 1),
    TagType.IFD: ("u4", 1),
    TagType.LONG8: ("u8", 1),
    TagType.SLONG8: ("i8", 1),
    TagType.IFD8: ("u8", 1),
}

TYPE_DTYPES: Final[dict[int, np.dtype[np.generic]]] = {int(t): np.dtype(d) for t, (d, _) in _DTYPES.items()}
"""Data type of the numbers of each field type; a rational is two of them."""

TYPE_SIZES: Final[dict[int, int]] = {int(t): np.dtype(d).itemsize * n for t, (d, n) in _DTYPES.items()}
"""Bytes per count of each field type."""

type TagDefault = int | float | tuple[int, ...]

_BYTE = frozenset({TagType.BYTE})
_TEXT = frozenset({TagType.ASCII})
_SHORT = frozenset({TagType.SHORT})
_LONG = frozenset({TagType.LONG})
_SIZE = frozenset({TagType.SHORT, TagType.LONG})
_PLACE = frozenset({TagType.SHORT, TagType.LONG, TagType.LONG8})
_IFD = frozenset({TagType.LONG, TagType.IFD, TagType.LONG8, TagType.IFD8})
_RATIO = frozenset({TagType.RATIONAL})
_SRATIO = frozenset({TagType.SRATIONAL})
_FLOAT = frozenset({TagType.FLOAT})
_DOUBLE = frozenset({TagType.DOUBLE})
_BLOB = frozenset({TagType.BYTE, TagType.UNDEFINED})
_WORDS = frozenset({TagType.ASCII, TagType.BYTE})
_REAL = frozenset({TagType.SHORT, TagType.LONG, TagType.RATIONAL})
_SAMPLE = frozenset(TagType) - {TagType.ASCII, TagType.UNDEFINED, TagType.IFD, TagType.IFD8}
_ANY = frozenset(TagType)


class Tags(IntEnum):
    """Tag numbers by the names of the standards; each member knows its types, its default and its origin.

    ``types`` are the field types that the definition allows (readers should be lenient between integer
    types); ``default`` is None when the standard gives none.
    """

    types: frozenset[TagType]
    default: TagDefault | None
    origin: str

    def __new__(
        cls, code: int, types: frozenset[TagType] = _ANY, origin: str = "", default: TagDefault | None = None
    ) -> Self:
        """Make a member that carries its definition."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.types = types
        member.default = default
        member.origin = origin
        return member

    ProcessingSoftware = 11, _TEXT, "ACDSee"
    NewSubfileType = 254, _LONG, "TIFF 6 section 8", 0
    SubfileType = 255, _SHORT, "TIFF 6 section 8"
    ImageWidth = 256, _SIZE, "TIFF 6 section 3"
    ImageLength = 257, _SIZE, "TIFF 6 section 3"
    BitsPerSample = 258, _SHORT, "TIFF 6 section 4", 1
    Compression = 259, _SHORT, "TIFF 6 section 3", 1
    PhotometricInterpretation = 262, _SHORT, "TIFF 6 section 3"
    Threshholding = 263, _SHORT, "TIFF 6 section 8", 1
    CellWidth = 264, _SHORT, "TIFF 6 section 8"
    CellLength = 265, _SHORT, "TIFF 6 section 8"
    FillOrder = 266, _SHORT, "TIFF 6 section 8", 1
    DocumentName = 269, _TEXT, "TIFF 6 section 12"
    ImageDescription = 270, _TEXT, "TIFF 6 section 8"
    Make = 271, _TEXT, "TIFF 6 section 8"
    Model = 272, _TEXT, "TIFF 6 section 8"
    StripOffsets = 273, _PLACE, "TIFF 6 section 3"
    Orientation = 274, _SHORT, "TIFF 6 section 8", 1
    SamplesPerPixel = 277, _SHORT, "TIFF 6 section 6", 1
    RowsPerStrip = 278, _SIZE, "TIFF 6 section 3", 2**32 - 1
    StripByteCounts = 279, _PLACE, "TIFF 6 section 3"
    MinSampleValue = 280, _SHORT, "TIFF 6 section 8", 0
    MaxSampleValue = 281, _SHORT, "TIFF 6 section 8"
    XResolution = 282, _RATIO, "TIFF 6 section 3"
    YResolution = 283, _RATIO, "TIFF 6 section 3"
    PlanarConfiguration = 284, _SHORT, "TIFF 6 section 8", 1
    PageName = 285, _TEXT, "TIFF 6 section 12"
    XPosition = 286, _RATIO, "TIFF 6 section 12"
    YPosition = 287, _RATIO, "TIFF 6 section 12"
    FreeOffsets = 288, _LONG, "TIFF 6 section 8"
    FreeByteCounts = 289, _LONG, "TIFF 6 section 8"
    GrayResponseUnit = 290, _SHORT, "TIFF 6 section 8", 2
    GrayResponseCurve = 291, _SHORT, "TIFF 6 section 8"
    T4Options = 292, _LONG, "TIFF 6 section 11", 0
    T6Options = 293, _LONG, "TIFF 6 section 11", 0
    ResolutionUnit = 296, _SHORT, "TIFF 6 section 3", 2
    PageNumber = 297, _SHORT, "TIFF 6 section 12"
    ColorResponseUnit = 300, _SHORT, "TIFF 5"
    TransferFunction = 301, _SHORT, "TIFF 6 section 20"
    Software = 305, _TEXT, "TIFF 6 section 8"
    DateTime = 306, _TEXT, "TIFF 6 section 8"
    Artist = 315, _TEXT, "TIFF 6 section 8"
    HostComputer = 316, _TEXT, "TIFF 6 section 8"
    Predictor = 317, _SHORT, "TIFF 6 section 14", 1
    WhitePoint = 318, _RATIO, "TIFF 6 section 20"
    PrimaryChromaticities = 319, _RATIO, "TIFF 6 section 20"
    ColorMap = 320, _SHORT, "TIFF 6 section 5"
    HalftoneHints = 321, _SHORT, "TIFF 6 section 17"
    TileWidth = 322, _SIZE, "TIFF 6 section 15"
    TileLength = 323, _SIZE, "TIFF 6 section 15"
    TileOffsets = 324, _PLACE, "TIFF 6 section 15"
    TileByteCounts = 325, _PLACE, "TIFF 6 section 15"
    BadFaxLines = 326, _SIZE, "TIFF class F"
    CleanFaxData = 327, _SHORT, "TIFF class F", 0
    ConsecutiveBadFaxLines = 328, _SIZE, "TIFF class F"
    SubIFDs = 330, _IFD, "PM6"
    InkSet = 332, _SHORT, "TIFF 6 section 16", 1
    InkNames = 333, _TEXT, "TIFF 6 section 16"
    NumberOfInks = 334, _SHORT, "TIFF 6 section 16", 4
    DotRange = 336, _BYTE | _SHORT, "TIFF 6 section 16"
    TargetPrinter = 337, _TEXT, "TIFF 6 section 16"
    ExtraSamples = 338, _BYTE | _SHORT, "TIFF 6 section 18"
    SampleFormat = 339, _SHORT, "TIFF 6 section 19", 1
    SMinSampleValue = 340, _SAMPLE, "TIFF 6 section 19"
    SMaxSampleValue = 341, _SAMPLE, "TIFF 6 section 19"
    TransferRange = 342, _SHORT, "TIFF 6 section 20"
    ClipPath = 343, _BYTE, "PM6"
    XClipPathUnits = 344, _LONG, "PM6"
    YClipPathUnits = 345, _LONG, "PM6"
    Indexed = 346, _SHORT, "PM6", 0
    JPEGTables = 347, _BLOB, "TN2"
    OPIProxy = 351, _SHORT, "PM6", 0
    GlobalParametersIFD = 400, _IFD, "FX"
    ProfileType = 401, _LONG, "FX"
    FaxProfile = 402, _BYTE, "FX"
    CodingMethods = 403, _LONG, "FX"
    VersionYear = 404, _BYTE, "FX"
    ModeNumber = 405, _BYTE, "FX"
    Decode = 433, _SRATIO, "FX"
    DefaultImageColor = 434, _SHORT, "FX"
    T82Options = 435, _LONG, "FX"
    JPEGProc = 512, _SHORT, "TIFF 6 section 22"
    JPEGInterchangeFormat = 513, _LONG, "TIFF 6 section 22"
    JPEGInterchangeFormatLength = 514, _LONG, "TIFF 6 section 22"
    JPEGRestartInterval = 515, _SHORT, "TIFF 6 section 22"
    JPEGLosslessPredictors = 517, _SHORT, "TIFF 6 section 22"
    JPEGPointTransforms = 518, _SHORT, "TIFF 6 section 22"
    JPEGQTables = 519, _LONG, "TIFF 6 section 22"
    JPEGDCTables = 520, _LONG, "TIFF 6 section 22"
    JPEGACTables = 521, _LONG, "TIFF 6 section 22"
    YCbCrCoefficients = 529, _RATIO, "TIFF 6 section 21"
    YCbCrSubSampling = 530, _SHORT, "TIFF 6 section 21", (2, 2)
    YCbCrPositioning = 531, _SHORT, "TIFF 6 section 21", 1
    ReferenceBlackWhite = 532, _RATIO, "TIFF 6 section 20"
    StripRowCounts = 559, _LONG, "FX"
    XMP = 700, _BLOB, "XMP part 3"
    Rating = 18246, _SHORT, "Windows"
    RatingPercent = 18249, _SHORT, "Windows"
    ImageID = 32781, _TEXT, "PM6"
    WangAnnotation = 32932, _BYTE, "Wang"
    Matteing = 32995, _SHORT, "SGI"
    DataType = 32996, _SHORT, "SGI"
    ImageDepth = 32997, _SIZE, "SGI", 1
    TileDepth = 32998, _SIZE, "SGI", 1
    ImageFullWidth = 33300, _SIZE, "Pixar"
    ImageFullLength = 33301, _SIZE, "Pixar"
    TextureFormat = 33302, _TEXT, "Pixar"
    TextureWrapModes = 33303, _TEXT, "Pixar"
    FieldOfViewCotangent = 33304, _FLOAT, "Pixar"
    MatrixWorldToScreen = 33305, _FLOAT, "Pixar"
    MatrixWorldToCamera = 33306, _FLOAT, "Pixar"
    CFARepeatPatternDim = 33421, _SHORT, "EP"
    CFAPattern = 33422, _BYTE, "EP"
    BatteryLevel = 33423, _RATIO | _TEXT, "EP"
    Copyright = 33432, _TEXT, "TIFF 6 section 8"
    ExposureTime = 33434, _RATIO, "EP"
    FNumber = 33437, _RATIO, "EP"
    MDFileTag = 33445, _LONG, "Molecular Dynamics"
    MDScalePixel = 33446, _RATIO, "Molecular Dynamics"
    MDColorTable = 33447, _SHORT, "Molecular Dynamics"
    MDLabName = 33448, _TEXT, "Molecular Dynamics"
    MDSampleInfo = 33449, _TEXT, "Molecular Dynamics"
    MDPrepDate = 33450, _TEXT, "Molecular Dynamics"
    MDPrepTime = 33451, _TEXT, "Molecular Dynamics"
    MDFileUnits = 33452, _TEXT, "Molecular Dynamics"
    ModelPixelScale = 33550, _DOUBLE, "GeoTIFF 1.1"
    OlympusSIS = 33560, _ANY, "Olympus"
    UIC1 = 33628, _ANY, "MetaMorph STK"
    UIC2 = 33629, _ANY, "MetaMorph STK"
    UIC3 = 33630, _ANY, "MetaMorph STK"
    UIC4 = 33631, _ANY, "MetaMorph STK"
    IPTC = 33723, _BLOB | _LONG, "IPTC-NAA"
    IntergraphPacket = 33918, _SHORT, "Intergraph"
    IntergraphFlagRegisters = 33919, _LONG, "Intergraph"
    IntergraphMatrix = 33920, _DOUBLE, "Intergraph"
    ModelTiepoint = 33922, _DOUBLE, "GeoTIFF 1.1"
    Site = 34016, _TEXT, "TIFF/IT"
    ColorSequence = 34017, _TEXT, "TIFF/IT"
    IT8Header = 34018, _TEXT, "TIFF/IT"
    RasterPadding = 34019, _SHORT, "TIFF/IT"
    BitsPerRunLength = 34020, _SHORT, "TIFF/IT"
    BitsPerExtendedRunLength = 34021, _SHORT, "TIFF/IT"
    ColorTable = 34022, _BYTE, "TIFF/IT"
    ImageColorIndicator = 34023, _BYTE, "TIFF/IT"
    BackgroundColorIndicator = 34024, _BYTE, "TIFF/IT"
    ImageColorValue = 34025, _BYTE, "TIFF/IT"
    BackgroundColorValue = 34026, _BYTE, "TIFF/IT"
    PixelIntensityRange = 34027, _BYTE, "TIFF/IT"
    TransparencyIndicator = 34028, _BYTE, "TIFF/IT"
    ColorCharacterization = 34029, _TEXT, "TIFF/IT"
    HCUsage = 34030, _LONG, "TIFF/IT"
    TrapIndicator = 34031, _BYTE, "TIFF/IT"
    CMYKEquivalent = 34032, _SHORT, "TIFF/IT"
    SEMMetadata = 34118, _ANY, "Zeiss SEM"
    ModelTransformation = 34264, _DOUBLE, "GeoTIFF 1.1"
    FluoViewHeader = 34361, _ANY, "Olympus FluoView"
    FluoViewStamp = 34362, _ANY, "Olympus FluoView"
    ImageResources = 34377, _BLOB, "PS"
    LSMInfo = 34412, _ANY, "Zeiss LSM"
    ExifIFD = 34665, _IFD, "Exif"
    ICCProfile = 34675, _BLOB, "ICC"
    FEISFEG = 34680, _ANY, "FEI"
    FEIHelios = 34682, _ANY, "FEI"
    ImageLayer = 34732, _SIZE, "FX"
    GeoKeyDirectory = 34735, _SHORT, "GeoTIFF 1.1"
    GeoDoubleParams = 34736, _DOUBLE, "GeoTIFF 1.1"
    GeoAsciiParams = 34737, _TEXT, "GeoTIFF 1.1"
    ExposureProgram = 34850, _SHORT, "EP"
    SpectralSensitivity = 34852, _TEXT, "EP"
    GPSIFD = 34853, _IFD, "Exif"
    ISOSpeedRatings = 34855, _SHORT, "EP"
    OECF = 34856, _BLOB, "EP"
    Interlace = 34857, _SHORT, "EP"
    TimeZoneOffset = 34858, frozenset({TagType.SSHORT}), "EP"
    SelfTimerMode = 34859, _SHORT, "EP"
    HylaFAXFaxRecvParams = 34908, _LONG, "HylaFAX"
    HylaFAXFaxSubAddress = 34909, _TEXT, "HylaFAX"
    HylaFAXFaxRecvTime = 34910, _LONG, "HylaFAX"
    FedexEDR = 34929, _TEXT, "Fedex"
    DateTimeOriginal = 36867, _TEXT, "EP"
    CompressedBitsPerPixel = 37122, _RATIO, "EP"
    ShutterSpeedValue = 37377, _SRATIO, "EP"
    ApertureValue = 37378, _RATIO, "EP"
    BrightnessValue = 37379, _SRATIO, "EP"
    ExposureBiasValue = 37380, _SRATIO, "EP"
    MaxApertureValue = 37381, _RATIO, "EP"
    SubjectDistance = 37382, _RATIO | _SRATIO, "EP"
    MeteringMode = 37383, _SHORT, "EP"
    LightSource = 37384, _SHORT, "EP"
    Flash = 37385, _SHORT, "EP"
    FocalLength = 37386, _RATIO, "EP"
    FlashEnergy = 37387, _RATIO, "EP"
    SpatialFrequencyResponse = 37388, _BLOB, "EP"
    Noise = 37389, _BLOB, "EP"
    FocalPlaneXResolution = 37390, _RATIO, "EP"
    FocalPlaneYResolution = 37391, _RATIO, "EP"
    FocalPlaneResolutionUnit = 37392, _SHORT, "EP"
    ImageNumber = 37393, _LONG, "EP"
    SecurityClassification = 37394, _TEXT, "EP"
    ImageHistory = 37395, _TEXT, "EP"
    SubjectLocation = 37396, _SHORT, "EP"
    ExposureIndex = 37397, _RATIO, "EP"
    TIFFEPStandardID = 37398, _BYTE, "EP"
    SensingMethod = 37399, _SHORT, "EP"
    StoNits = 37439, _DOUBLE, "SGI LogLuv"
    ImageSourceData = 37724, _BLOB, "PS"
    XPTitle = 40091, _BYTE, "Windows"
    XPComment = 40092, _BYTE, "Windows"
    XPAuthor = 40093, _BYTE, "Windows"
    XPKeywords = 40094, _BYTE, "Windows"
    XPSubject = 40095, _BYTE, "Windows"
    InteroperabilityIFD = 40965, _IFD, "Exif"
    GDAL_METADATA = 42112, _TEXT, "GDAL"
    GDAL_NODATA = 42113, _TEXT, "GDAL"
    NIHImageHeader = 43314, _ANY, "NIH Image"
    OceScanjobDescription = 50215, _TEXT, "Oce"
    OceApplicationSelector = 50216, _TEXT, "Oce"
    OceIdentificationNumber = 50217, _TEXT, "Oce"
    OceImageLogicCharacteristics = 50218, _TEXT, "Oce"
    Annotations = 50255, _BLOB, "PS"
    PrintImageMatching = 50341, _BLOB, "Epson"
    LercParameters = 50674, _LONG, "LERC"
    DNGVersion = 50706, _BYTE, "DNG"
    DNGBackwardVersion = 50707, _BYTE, "DNG"
    UniqueCameraModel = 50708, _TEXT, "DNG"
    LocalizedCameraModel = 50709, _WORDS, "DNG"
    CFAPlaneColor = 50710, _BYTE, "DNG", (0, 1, 2)
    CFALayout = 50711, _SHORT, "DNG", 1
    LinearizationTable = 50712, _SHORT, "DNG"
    BlackLevelRepeatDim = 50713, _SHORT, "DNG", (1, 1)
    BlackLevel = 50714, _REAL, "DNG", 0
    BlackLevelDeltaH = 50715, _SRATIO, "DNG"
    BlackLevelDeltaV = 50716, _SRATIO, "DNG"
    WhiteLevel = 50717, _SIZE, "DNG"
    DefaultScale = 50718, _RATIO, "DNG", 1.0
    DefaultCropOrigin = 50719, _REAL, "DNG", (0, 0)
    DefaultCropSize = 50720, _REAL, "DNG"
    ColorMatrix1 = 50721, _SRATIO, "DNG"
    ColorMatrix2 = 50722, _SRATIO, "DNG"
    CameraCalibration1 = 50723, _SRATIO, "DNG"
    CameraCalibration2 = 50724, _SRATIO, "DNG"
    ReductionMatrix1 = 50725, _SRATIO, "DNG"
    ReductionMatrix2 = 50726, _SRATIO, "DNG"
    AnalogBalance = 50727, _RATIO, "DNG"
    AsShotNeutral = 50728, _SHORT | _RATIO, "DNG"
    AsShotWhiteXY = 50729, _RATIO, "DNG"
    BaselineExposure = 50730, _SRATIO, "DNG", 0.0
    BaselineNoise = 50731, _RATIO, "DNG", 1.0
    BaselineSharpness = 50732, _RATIO, "DNG", 1.0
    BayerGreenSplit = 50733, _LONG, "DNG", 0
    LinearResponseLimit = 50734, _RATIO, "DNG", 1.0
    CameraSerialNumber = 50735, _TEXT, "DNG"
    LensInfo = 50736, _RATIO, "DNG"
    ChromaBlurRadius = 50737, _RATIO, "DNG"
    AntiAliasStrength = 50738, _RATIO, "DNG", 1.0
    ShadowScale = 50739, _SRATIO, "DNG", 1.0
    DNGPrivateData = 50740, _BYTE, "DNG"
    MakerNoteSafety = 50741, _SHORT, "DNG", 0
    CalibrationIlluminant1 = 50778, _SHORT, "DNG", 0
    CalibrationIlluminant2 = 50779, _SHORT, "DNG", 0
    BestQualityScale = 50780, _RATIO, "DNG", 1.0
    RawDataUniqueID = 50781, _BYTE, "DNG"
    AliasLayerMetadata = 50784, _TEXT, "Alias Sketchbook"
    OriginalRawFileName = 50827, _WORDS, "DNG"
    OriginalRawFileData = 50828, _BLOB, "DNG"
    ActiveArea = 50829, _SIZE, "DNG"
    MaskedAreas = 50830, _SIZE, "DNG"
    AsShotICCProfile = 50831, _BLOB, "DNG"
    AsShotPreProfileMatrix = 50832, _SRATIO, "DNG"
    CurrentICCProfile = 50833, _BLOB, "DNG"
    CurrentPreProfileMatrix = 50834, _SRATIO, "DNG"
    IJMetadataByteCounts = 50838, _LONG, "ImageJ"
    IJMetadata = 50839, _BYTE, "ImageJ"
    RPCCoefficient = 50844, _DOUBLE, "RPC in GeoTIFF"
    ColorimetricReference = 50879, _SHORT, "DNG", 0
    TIFF_RSID = 50908, _TEXT, "DGIWG"
    GEO_METADATA = 50909, _TEXT, "DGIWG"
    ExtraCameraProfiles = 50933, _LONG, "DNG"
    AsShotProfileName = 50934, _WORDS, "DNG"
    NoiseReductionApplied = 50935, _RATIO, "DNG"
    ProfileName = 50936, _WORDS, "DNG"
    ForwardMatrix1 = 50964, _SRATIO, "DNG"
    ForwardMatrix2 = 50965, _SRATIO, "DNG"
    PreviewApplicationName = 50966, _WORDS, "DNG"
    PreviewColorSpace = 50970, _LONG, "DNG"
    PreviewDateTime = 50971, _TEXT, "DNG"
    RawImageDigest = 50972, _BYTE, "DNG"
    SubTileBlockSize = 50974, _SIZE, "DNG", (1, 1)
    RowInterleaveFactor = 50975, _SIZE, "DNG", 1
    OpcodeList1 = 51008, _BLOB, "DNG"
    OpcodeList2 = 51009, _BLOB, "DNG"
    OpcodeList3 = 51022, _BLOB, "DNG"
    FibicsXML = 51023, _ANY, "Fibics"
    NoiseProfile = 51041, _DOUBLE, "DNG"
    MicroManagerMetadata = 51123, _ANY, "Micro-Manager"
    DepthFormat = 51177, _SHORT, "DNG", 0
    DepthNear = 51178, _RATIO, "DNG"
    DepthFar = 51179, _RATIO, "DNG"
    DepthUnits = 51180, _SHORT, "DNG", 0
    DepthMeasureType = 51181, _SHORT, "DNG", 0
    EnhanceParams = 51182, _TEXT, "DNG"
    ColumnInterleaveFactor = 52547, _SIZE, "DNG", 1
    JXLDistance = 52553, _FLOAT, "DNG"
    JXLEffort = 52554, _LONG, "DNG"
    JXLDecodeSpeed = 52555, _LONG, "DNG"
    NDPIOffsetHighBytes = 65324, _ANY, "Hamamatsu NDPI"
    NDPIByteCountHighBytes = 65325, _ANY, "Hamamatsu NDPI"
    NDPIFormat = 65420, _ANY, "Hamamatsu NDPI"
    NDPISourceLens = 65421, _ANY, "Hamamatsu NDPI"
    NDPIXOffset = 65422, _ANY, "Hamamatsu NDPI"
    NDPIYOffset = 65423, _ANY, "Hamamatsu NDPI"
    NDPIZOffset = 65424, _ANY, "Hamamatsu NDPI"
    NDPIMCUStarts = 65426, _ANY, "Hamamatsu NDPI"
    NDPIReference = 65427, _ANY, "Hamamatsu NDPI"
    NDPIMCUStartsHighBytes = 65432, _ANY, "Hamamatsu NDPI"
    NDPICaptureMode = 65441, _ANY, "Hamamatsu NDPI"
    NDPIPropertyMap = 65449, _ANY, "Hamamatsu NDPI"


_NAMES: Final[dict[int, str]] = {int(tag): tag.name for tag in Tags}
errors.TIFF_NAMES.update(_NAMES)


def tag_name(code: int) -> str:
    """Return the standard's name of a tag, or its number as text when it is unknown."""
    return _NAMES.get(code) or str(code)
