import CVectors
import Glibc

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

/// Asks for pages of 2 MiB in memory that isn't used yet: in a large table every look at an ordinary page is a second
/// wait, for where the page lies. A whole page is taken with the first byte that is written there, so this is for what
/// is large already. Where the system has none, nothing changes.
package func useHugePages(in memory: UnsafeRawBufferPointer) {
    let page = hugePageBytes
    let skipped = -Int(bitPattern: memory.baseAddress) & (page - 1)
    guard let base = memory.baseAddress, memory.count >= skipped + page else { return }
    _ = madvise(UnsafeMutableRawPointer(mutating: base + skipped), memory.count - skipped, MADV_HUGEPAGE)
}

package let hugePageBytes = 2 << 20
