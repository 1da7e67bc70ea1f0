#if Engine
import CLlama

/// The tokens of one `llama_decode`, of any sequences.
///
/// Owns: the `llama_batch`, freed with the object.
final class LlamaBatch {
    let capacity: Int
    private(set) var batch: llama_batch

    var count: Int { Int(batch.n_tokens) }
    var room: Int { capacity - count }

    init(capacity: Int) {
        self.capacity = capacity
        batch = llama_batch_init(Int32(capacity), 0, 1)
    }

    deinit { llama_batch_free(batch) }

    func clear() { batch.n_tokens = 0 }

    /// - Out: the token's row, by which its logits are found if it `wantsLogits`.
    func add(_ token: Int32, position: Int, sequence: Int32, wantsLogits: Bool) -> Int32 {
        precondition(room > 0)
        let row = batch.n_tokens
        batch.token[Int(row)] = token
        batch.pos[Int(row)] = Int32(position)
        batch.n_seq_id[Int(row)] = 1
        batch.seq_id[Int(row)]![0] = sequence
        batch.logits[Int(row)] = wantsLogits ? 1 : 0
        batch.n_tokens += 1
        return row
    }
}
#endif
