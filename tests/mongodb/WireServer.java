import de.bwaldvogel.mongo.MongoCollection;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.DefaultQueryMatcher;
import de.bwaldvogel.mongo.backend.Index;
import de.bwaldvogel.mongo.backend.IndexKey;
import de.bwaldvogel.mongo.backend.KeyValue;
import de.bwaldvogel.mongo.backend.Missing;
import de.bwaldvogel.mongo.backend.ValueComparator;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.backend.memory.MemoryDatabase;
import de.bwaldvogel.mongo.backend.memory.index.MemoryUniqueIndex;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.exception.MongoServerException;
import de.bwaldvogel.mongo.wire.bson.BsonDecoder;
import de.bwaldvogel.mongo.wire.bson.BsonEncoder;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufUtil;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.embedded.EmbeddedChannel;
import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Set;
import java.util.TreeMap;

/**
 * An in-memory MongoDB for the tests: prints its address when it listens, stops when its standard input ends (so it
 * never outlives the test run that started it).
 *
 * <p>Arguments: the port (0 is any), with an address and a colon before it if it is not for this machine alone; and a
 * file, if what was written is to survive its end. Every command that may write goes there in the order in which it was
 * carried out, before it is answered, and is carried out again at the next start. So a killed server has lost nothing
 * that it has answered.
 *
 * <p>It mends five things in which mongo-java-server differs from MongoDB and that Palaver relies on: the wire version
 * that today's drivers ask for, the count of documents that a failed insert wrote, partial unique indexes, answers
 * that no later write changes, and what a query costs: indexes that are not unique, and ranges of `_id`.
 */
public final class WireServer {
    public static void main(String[] arguments) throws Exception {
        Backend backend = new Backend();
        backend.version(new Version());
        if (arguments.length > 1) {
            backend.keepJournal(Path.of(arguments[1]));
        }
        MongoServer server = new MongoServer(backend);
        String address = arguments.length > 0 ? arguments[0] : "0";
        int colon = address.lastIndexOf(':');
        String host = colon < 0 ? "127.0.0.1" : address.substring(0, colon);
        server.bind(host, Integer.parseInt(address.substring(colon + 1)));
        System.out.println("listening on port " + server.getLocalAddress().getPort());
        while (System.in.read() != -1) {
            // Nothing is ever said here; only the end counts.
        }
        server.shutdownNow();
    }

    private static final class Version implements MongoVersion {
        @Override
        public List<Integer> getVersionArray() {
            return List.of(4, 4, 0);
        }

        @Override
        public int getWireVersion() {
            return 9;
        }
    }

    private static final class Backend extends MemoryBackend {
        private static final Set<String> WRITING = Set.of(
                "insert", "update", "delete", "findandmodify", "create", "createindexes", "drop", "dropdatabase",
                "dropindexes");

        private DataOutputStream journal;

        /** Carries out what the journal holds (a last entry that was cut off was never answered), and goes on in it. */
        void keepJournal(Path path) throws IOException {
            EmbeddedChannel channel = new EmbeddedChannel();
            long whole = 0;
            if (Files.exists(path)) {
                try (DataInputStream entries = new DataInputStream(new BufferedInputStream(Files.newInputStream(path)))) {
                    while (true) {
                        byte[] entry = new byte[entries.readInt()];
                        entries.readFully(entry);
                        whole += Integer.BYTES + entry.length;
                        Document done = BsonDecoder.decodeBson(Unpooled.wrappedBuffer(entry));
                        try {
                            super.handleCommand(
                                    channel,
                                    (String) done.get("database"),
                                    (String) done.get("command"),
                                    (Document) done.get("query"));
                        } catch (MongoServerException refused) {
                            // As it was the first time.
                        }
                    }
                } catch (EOFException end) {
                    try (FileChannel file = FileChannel.open(path, StandardOpenOption.WRITE)) {
                        file.truncate(whole);
                    }
                }
            }
            journal = new DataOutputStream(new BufferedOutputStream(
                    Files.newOutputStream(path, StandardOpenOption.CREATE, StandardOpenOption.APPEND)));
        }

        private static byte[] entryOf(String database, String command, Document query) {
            Document entry = new Document("database", database).append("command", command).append("query", query);
            ByteBuf encoded = Unpooled.buffer();
            BsonEncoder.encodeDocument(entry, encoded);
            return ByteBufUtil.getBytes(encoded);
        }

        private void write(byte[] entry) {
            try {
                journal.writeInt(entry.length);
                journal.write(entry);
                journal.flush();
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }

        @Override
        public MemoryDatabase openOrCreateDatabase(String name) {
            return new Database(name, getCursorRegistry());
        }

        /**
         * One command at a time, and the answer is a copy: the original answers with the stored documents themselves,
         * which another connection may change before they are written to the socket. It also answers to an insert how
         * many documents it was given, not how many it wrote.
         */
        @Override
        public synchronized Document handleCommand(Channel channel, String database, String command, Document query) {
            boolean kept = journal != null && WRITING.contains(command.toLowerCase(Locale.ROOT));
            // Before it is carried out: that may make the query's documents the stored ones.
            byte[] entry = kept ? entryOf(database, command, query) : null;
            Document answer = super.handleCommand(channel, database, command, query).cloneDeeply();
            if (kept) {
                write(entry);
            }
            if (command.equalsIgnoreCase("insert") && answer.get("writeErrors") instanceof List<?> errors) {
                boolean ordered = !Boolean.FALSE.equals(query.get("ordered"));
                int given = ((Number) answer.get("n")).intValue();
                int firstFailed = ((Number) ((Document) errors.get(0)).get("index")).intValue();
                answer.put("n", ordered ? firstFailed : given - errors.size());
            }
            return answer;
        }
    }

    private static final class Database extends MemoryDatabase {
        /** Of the index being added; handed from addIndex (synchronized) to openOrCreateUniqueIndex below it. */
        private Document partialFilter;

        Database(String name, CursorRegistry cursors) {
            super(name, cursors);
        }

        @Override
        protected synchronized void addIndex(Document description) {
            Document outer = partialFilter;
            partialFilter = (Document) description.get("partialFilterExpression");
            try {
                super.addIndex(description);
            } finally {
                // The first index of a collection creates the collection, and that adds the one of _id.
                partialFilter = outer;
            }
        }

        @Override
        protected Index<Integer> openOrCreateUniqueIndex(
                String collection, String name, List<IndexKey> keys, boolean sparse) {
            if (partialFilter != null) {
                return new PartialUniqueIndex(name, keys, sparse, partialFilter);
            }
            return keys.get(0).getKey().equals("_id")
                    ? new IdIndex(name, keys, sparse)
                    : super.openOrCreateUniqueIndex(collection, name, keys, sparse);
        }

        /** The original makes one that is always empty. A partial one holds every document here: nothing tells. */
        @Override
        protected Index<Integer> openOrCreateSecondaryIndex(
                String collection, String name, List<IndexKey> keys, boolean sparse) {
            return new SortedIndex(name, keys);
        }
    }

    /**
     * The documents in the order of an index's first key. It finds what may match by equality, `$in` or a range of that
     * key; who asks compares the whole query with each.
     */
    private static final class SortedIndex extends Index<Integer> {
        private final String key;
        /** Positions by the document's `_id`, by the key's value (each of an array's values). */
        private final NavigableMap<Object, Map<KeyValue, Integer>> entries =
                new TreeMap<>(ValueComparator.ascWithoutListHandling());
        private boolean hasArrays;

        SortedIndex(String name, List<IndexKey> keys) {
            super(name, keys.subList(0, 1), false);
            key = keys.get(0).getKey();
        }

        private List<Object> valuesOf(Document document) {
            List<Object> values = new ArrayList<>();
            for (KeyValue value : getKeyValues(document)) {
                values.add(value.get(0));
            }
            return values;
        }

        @Override
        public synchronized void add(Document document, Integer position, MongoCollection<Integer> collection) {
            List<Object> values = valuesOf(document);
            hasArrays |= values.size() > 1;
            for (Object value : values) {
                entries.computeIfAbsent(value, unused -> new HashMap<>()).put(idOf(document), position);
            }
        }

        @Override
        public synchronized Integer remove(Document document) {
            Integer position = null;
            for (Object value : valuesOf(document)) {
                Map<KeyValue, Integer> found = entries.get(value);
                if (found != null) {
                    position = found.remove(idOf(document));
                    if (found.isEmpty()) {
                        entries.remove(value);
                    }
                }
            }
            return position;
        }

        private static KeyValue idOf(Document document) {
            return new KeyValue(document.get("_id")).normalized();
        }

        @Override
        public void updateInPlace(
                Document before, Document after, Integer position, MongoCollection<Integer> collection) {
            remove(before);
            add(after, position, collection);
        }

        @Override
        public boolean canHandle(Document query) {
            Object wanted = query.get(key);
            if (!query.containsKey(key) || Missing.isNullOrMissing(wanted)) {
                return false;
            }
            if (!(wanted instanceof Document conditions)) {
                return isValue(wanted);
            }
            if (conditions.get("$in") instanceof Collection<?> values) {
                return values.stream().allMatch(SortedIndex::isValue);
            }
            return oneOf(conditions, "$gt", "$gte") != null || oneOf(conditions, "$lt", "$lte") != null;
        }

        /** What a document can be found by: no pattern, no nothing, nothing with parts. */
        private static boolean isValue(Object wanted) {
            return wanted instanceof String || wanted instanceof Number || wanted instanceof Boolean
                    || wanted instanceof Instant;
        }

        @Override
        public synchronized Iterable<Integer> getPositions(Document query) {
            Set<Integer> positions = new LinkedHashSet<>();
            Object wanted = query.get(key);
            if (!(wanted instanceof Document conditions)) {
                positions.addAll(entries.getOrDefault(wanted, Map.of()).values());
            } else if (conditions.get("$in") instanceof Collection<?> values) {
                values.forEach(value -> positions.addAll(entries.getOrDefault(value, Map.of()).values()));
            } else {
                between(conditions).values().forEach(found -> positions.addAll(found.values()));
            }
            return positions;
        }

        private Map<Object, Map<KeyValue, Integer>> between(Document conditions) {
            Object low = oneOf(conditions, "$gt", "$gte");
            Object high = hasArrays && low != null ? null : oneOf(conditions, "$lt", "$lte");  // two values may do it
            if (low == null) {
                return entries.headMap(high, true);
            }
            if (high == null) {
                return entries.tailMap(low, true);
            }
            boolean isEmpty = entries.comparator().compare(low, high) > 0;
            return isEmpty ? Map.of() : entries.subMap(low, true, high, true);
        }

        private static Object oneOf(Document conditions, String name, String other) {
            Object bound = conditions.get(name);
            return isValue(bound) ? bound : isValue(conditions.get(other)) ? conditions.get(other) : null;
        }

        /** Only whole documents stand at positions; others tell which. */
        @Override
        public Integer getPosition(Document document) {
            return null;
        }

        @Override
        public void checkAdd(Document document, MongoCollection<Integer> collection) {
            // Nothing is refused.
        }

        @Override
        public void checkUpdate(Document before, Document after, MongoCollection<Integer> collection) {
            // Nothing is refused.
        }

        @Override
        public synchronized long getCount() {
            return entries.values().stream().mapToLong(Map::size).sum();
        }

        @Override
        public long getDataSize() {
            return 0;
        }

        @Override
        public void drop() {
            entries.clear();
        }
    }

    /** The index of `_id`, which also finds ranges. */
    private static final class IdIndex extends MemoryUniqueIndex {
        private final SortedIndex sorted;

        IdIndex(String name, List<IndexKey> keys, boolean sparse) {
            super(name, keys, sparse);
            sorted = new SortedIndex(name, keys);
        }

        @Override
        public synchronized boolean canHandle(Document query) {
            return super.canHandle(query) || sorted.canHandle(query);
        }

        @Override
        public synchronized Iterable<Integer> getPositions(Document query) {
            return super.canHandle(query) ? super.getPositions(query) : sorted.getPositions(query);
        }

        @Override
        public synchronized void add(Document document, Integer position, MongoCollection<Integer> collection) {
            super.add(document, position, collection);
            sorted.add(document, position, collection);
        }

        @Override
        public synchronized Integer remove(Document document) {
            sorted.remove(document);
            return super.remove(document);
        }

        @Override
        public void updateInPlace(
                Document before, Document after, Integer position, MongoCollection<Integer> collection) {
            super.updateInPlace(before, after, position, collection);
            sorted.updateInPlace(before, after, position, collection);
        }
    }

    private static final class PartialUniqueIndex extends MemoryUniqueIndex {
        private final DefaultQueryMatcher matcher = new DefaultQueryMatcher();
        private final Document filter;

        PartialUniqueIndex(String name, List<IndexKey> keys, boolean sparse, Document filter) {
            super(name, keys, sparse);
            this.filter = filter;
        }

        private boolean covers(Document document) {
            return matcher.matches(document, filter);
        }

        /** It knows only some documents, so it answers no query. */
        @Override
        public synchronized boolean canHandle(Document query) {
            return false;
        }

        @Override
        public Integer getPosition(Document document) {
            return covers(document) ? super.getPosition(document) : null;
        }

        @Override
        public synchronized Integer remove(Document document) {
            return covers(document) ? super.remove(document) : null;
        }

        @Override
        public synchronized void checkAdd(Document document, MongoCollection<Integer> collection) {
            if (covers(document)) {
                super.checkAdd(document, collection);
            }
        }

        @Override
        public synchronized void add(Document document, Integer position, MongoCollection<Integer> collection) {
            if (covers(document)) {
                super.add(document, position, collection);
            }
        }

        @Override
        public synchronized void checkUpdate(Document before, Document after, MongoCollection<Integer> collection) {
            if (covers(before) && covers(after)) {
                super.checkUpdate(before, after, collection);
            } else {
                checkAdd(after, collection);
            }
        }

        @Override
        public void updateInPlace(
                Document before, Document after, Integer position, MongoCollection<Integer> collection) {
            if (covers(before) && covers(after)) {
                super.updateInPlace(before, after, position, collection);
            } else {
                remove(before);
                add(after, position, collection);
            }
        }
    }
}
