import CVectors

/// Has the processor fetch an object that is soon read, with the `bytes` that it is known to have at least, while other
/// work goes on: with a million callers, what is kept for one is in no cache when it comes again.
///
/// - Parameter object: its ``address(of:)``: to count a reference would be to wait for the object.
/// - Cost: an instruction for each line of 64 bytes. Reads nothing.
@inline(__always)
public func prefetch(_ object: UInt, bytes: Int) { weir_prefetch(object, bytes) }

/// Where an object lies, for ``prefetch(_:bytes:)``.
@inline(__always)
public func address(of object: AnyObject) -> UInt { UInt(bitPattern: Unmanaged.passUnretained(object).toOpaque()) }
